// parent/handshake.h -- the dialogue between stage 0 and us, as a table of states.
//
// Pure: takes bytes in, gives bytes out, never touches a descriptor, so tests feed it any split of any input.
// Byte-by-byte account: docs/how_it_works.md.
#pragma once

#include <cstdint>
#include <string>

#include "core/bytes.h"
#include "core/result.h"
#include "parent/image.h"

namespace banyan {

// Banner, MOTD and rc output of 64 KiB before the marker, whose line may have begun; beyond: not a shell.
constexpr std::size_t kNoiseMax = 64 * 1024 + 256;

class Handshake {
 public:
  // kNeedsImage: for architecture(), which the store has not; whoever has tried to get it says on_image().
  enum class State { kWaitingForReady, kNeedsImage, kUploading, kWaitingForHello, kLinked, kFailed };

  // `expected_architecture` may be empty. With one, the caller may send what take_output() gives at once,
  // without waiting for the marker; stage 0 then refuses another machine before it takes a byte.
  Handshake(const ImageStore& images, ImageKind kind, std::uint64_t nonce, std::string expected_architecture);

  // Bytes from the far end, in any split.
  void feed(Bytes bytes);
  // The transport ended. Fails the handshake unless it is linked.
  void feed_end();
  // kNeedsImage: the store has it now, or it cannot be had. Otherwise no effect.
  void on_image();

  State state() const { return state_; }
  // Bytes to send now: the loader (as octal printf lines where the far side has no dd), then the image with
  // its header. Empty when there is nothing to send; each byte is given once.
  Buffer take_output();
  // All that take_output() gave has left: the upload is over, hello is what we wait for.
  void note_sent();
  // kLinked: what came after the last byte of the handshake: the beginning of the first frame.
  Buffer take_rest();
  // kFailed: phase shell, upload or hello, what happened, the last lines of noise, the remedy.
  const Error& error() const { return error_; }
  const std::string& architecture() const { return architecture_; }
  // Stage 0's, from the machine on, once it has come; also where it is the failure.
  const std::string& report() const { return report_; }
  // What came beside the dialogue, for -v and error texts; at most kNoiseMax.
  const std::string& noise() const { return noise_; }

 private:
  void on_line(std::string_view line);
  void on_ready(std::string_view report);
  void on_error(std::string_view report);
  void start_upload(const Image& image, bool in_octal);
  void append_image(const Image& image);
  void fail(Phase phase, std::string text, std::string_view remedy);

  const ImageStore& images_;
  const ImageKind kind_;
  const std::string nonce_;  // as it stands in the markers
  State state_ = State::kWaitingForReady;
  std::string architecture_;  // expected, then known
  bool has_dd_ = false;       // as stage 0 says
  bool sent_early_ = false;   // loader and image, for the architecture that was expected
  bool all_sent_ = false;
  const Image* after_loader_ = nullptr;  // to be sent when the loader, sent as octal lines, is in place
  std::string pending_;                  // the line, or the frame, that has begun
  std::size_t searched_ = 0;             // bytes of pending_ known to hold no end of line and no frame
  Buffer output_;
  Buffer rest_;
  std::string noise_, report_;
  Error error_;
};

}  // namespace banyan
