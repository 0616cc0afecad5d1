// Goal: whatever comes from the far end before the first frame, the handshake keeps its bounds and its
// promises. Method: the input is fed at once and in pieces its own bytes choose; both must end alike. What is
// given out is what the images hold, each byte once, and only after a marker with our nonce (or at once where
// it was expected).
#include <algorithm>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/frame.h"
#include "parent/handshake.h"

using namespace banyan;

namespace {

using State = Handshake::State;

constexpr std::uint64_t kNonce = 0x0123456789abcdef;

class Images final : public ImageStore {
 public:
  const Image* find(std::string_view architecture, ImageKind) const override {
    return architecture == image_.architecture ? &image_ : nullptr;
  }
  std::vector<std::string_view> architectures() const override { return {image_.architecture}; }
  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
  Result<int> local_image(ImageKind) override { return -1; }

 private:
  Image image_ = {"x86_64", as_bytes("a loader \x01\xff%\\ and its end"), as_bytes("a frame"), 1000, 1};
};

struct End {
  State state;
  std::string architecture, error;
  Buffer rest;
  std::string noise;
};

End run(const Images& images, bool expected, Bytes bytes, bool in_pieces) {
  Handshake handshake(images, ImageKind::kAgent, kNonce, expected ? "x86_64" : "");
  std::size_t sent = 0;
  auto send = [&] {
    const Buffer output = handshake.take_output();
    // Linked too: a far end may send its first frame without waiting for what should have made it.
    ASSERT(output.empty() || handshake.state() == State::kUploading || handshake.state() == State::kLinked ||
           (expected && handshake.state() == State::kWaitingForReady));
    sent += output.size();
    handshake.note_sent();
    ASSERT(handshake.take_output().empty());
  };
  if (expected) send();
  End end{};
  while (!bytes.empty()) {
    const std::size_t piece =
        in_pieces ? std::min<std::size_t>(bytes.size(), 1 + bytes[0] % 61) : bytes.size();
    handshake.feed(bytes.first(piece));
    if (piece % 3 != 0) handshake.on_image();  // else it comes later, or never
    bytes = bytes.subspan(piece);
    ASSERT(handshake.noise().size() <= kNoiseMax);
    send();
    const Buffer rest = handshake.take_rest();
    ASSERT(rest.empty() || handshake.state() == State::kLinked);
    end.rest.insert(end.rest.end(), rest.begin(), rest.end());
  }
  handshake.feed_end();

  ASSERT(handshake.state() == State::kLinked || handshake.state() == State::kFailed);
  if (handshake.state() == State::kLinked) {
    ASSERT(sent > 0);
    ASSERT(handshake.architecture() == "x86_64");
    ASSERT(end.rest.size() >= 2 && load_le<std::uint16_t>(end.rest.data()) == kMagic);
  } else {
    const Error& error = handshake.error();
    ASSERT(!error.text.empty());
    ASSERT(error.phase == Phase::kShell || error.phase == Phase::kUpload || error.phase == Phase::kHello);
    ASSERT(std::ranges::none_of(error.text,
                                [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }));
    end.error = error.text;
  }
  end.state = handshake.state();
  end.architecture = handshake.architecture();
  end.noise = handshake.noise();
  return end;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > kNoiseMax) return 0;  // beyond it, where the bound is noticed depends on the pieces
  const Images images;
  const bool expected = data[0] % 2 == 1;
  const Bytes bytes(data + 1, size - 1);
  const End whole = run(images, expected, bytes, false);
  const End pieces = run(images, expected, bytes, true);
  ASSERT(whole.state == pieces.state);
  ASSERT(whole.architecture == pieces.architecture);
  ASSERT(whole.rest == pieces.rest);
  return 0;
}
