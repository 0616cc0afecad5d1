#include "parent/handshake.h"

#include <algorithm>

#include "core/frame.h"
#include "core/text.h"
#include "parent/image_header.h"

namespace banyan {

namespace {

constexpr std::string_view kReady = "BANYAN-READY ", kLoaded = "BANYAN-LOADED ", kError = "BANYAN-ERROR ";
// How a first frame begins: magic, version, and the flags of a control frame.
constexpr char kFrameStart[] = {char(kMagic & 0xff), char(kMagic >> 8), char(kProtocolVersion),
                                char(kFirst | kLast | kControl)};
constexpr std::string_view kFrame(kFrameStart, sizeof kFrameStart);
constexpr std::size_t kOctalBytes = 256;  // a line; every shell reads one of four times that

// What stage 0 and the loader say when they fail (bootstrap/stage0.sh, bootstrap/loader/).
struct Word {
  std::string_view word;
  Phase phase;
  std::string_view text;
  std::string_view remedy;
};
constexpr std::string_view kBroken = "try again, and look for what ends processes or connections there";
constexpr std::string_view kTransport = "look for a transport or a login shell that changes bytes";
constexpr std::string_view kExecutable =
    "allow execution from memory (vm.memfd_noexec) or from one of the directories, or look for a security "
    "module";
constexpr Word kWords[] = {
    {"stopped", Phase::kShell, "the shell was stopped by a signal", {}},
    {"upload", Phase::kUpload, "the loader did not arrive whole",
     "look for a full disk, or a broken connection"},
    {"exec", Phase::kUpload, "the shell could not execute the loader", kExecutable},
    {"input", Phase::kUpload, "the loader could not read its input", kTransport},
    {"truncated", Phase::kUpload, "the input ended before the image was whole", kTransport},
    {"header", Phase::kUpload, "what follows the loader is not an image", kTransport},
    {"memory", Phase::kUpload, "not enough memory for the image", {}},
    {"frame", Phase::kUpload, "the image does not have the size it was announced with", kTransport},
    {"corrupt", Phase::kUpload, "the image was damaged on the way", kTransport},
    {"execute", Phase::kHello, "the kernel refused to execute the image", kExecutable},
};

std::string_view next_field(std::string_view& text) {
  auto space = text.find(' ');
  auto field = text.substr(0, space);
  text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  return field;
}

// Foreign bytes end up on somebody's terminal: nothing that moves its cursor.
void make_printable(std::string& text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
}

// The last lines, on one line.
std::string last_lines(std::string_view noise) {
  constexpr std::size_t kBytes = 300, kLines = 3;
  std::size_t from = noise.size(), lines = 0;
  bool in_line = false;
  for (; from > 0 && noise.size() - from < kBytes; --from) {
    bool ends = noise[from - 1] == '\n' || noise[from - 1] == '\r';
    if (ends && in_line && ++lines == kLines) break;
    in_line = !ends;
  }
  std::string text;
  for (char c : noise.substr(from)) {
    bool ends = c == '\n' || c == '\r';
    if (ends && (text.empty() || text.back() == '|')) continue;
    text.push_back(ends ? '|' : c);
  }
  while (!text.empty() && text.back() == '|') text.pop_back();
  return text;
}

}  // namespace

Handshake::Handshake(const ImageStore& images, ImageKind kind, std::uint64_t nonce,
                     std::string expected_architecture)
    : images_(images), kind_(kind), nonce_(hex64(nonce)), architecture_(std::move(expected_architecture)) {
  if (architecture_.empty()) return;
  const Image* image = images_.find(architecture_, kind_);
  sent_early_ = image != nullptr;
  if (sent_early_) start_upload(*image, false);
}

void Handshake::feed(Bytes bytes) {
  if (state_ == State::kFailed) return;
  if (state_ == State::kLinked) {
    rest_.insert(rest_.end(), bytes.begin(), bytes.end());
    return;
  }
  pending_.append(as_text(bytes));
  std::string_view text = pending_;
  while (noise_.size() <= kNoiseMax) {
    auto end = text.find('\n', searched_);
    if (state_ != State::kWaitingForReady && state_ != State::kNeedsImage) {
      // A frame may follow noise that did not end its line; at the start of one the magic is enough, so that
      // a peer of another version is seen as one.
      auto frame = text.starts_with(kFrame.substr(0, 2))
                       ? 0
                       : text.find(kFrame, searched_ - std::min(searched_, kFrame.size()));
      if (frame < end) {
        noise_.append(text.substr(0, frame));
        rest_.assign(text.begin() + std::ptrdiff_t(frame), text.end());
        pending_.clear();
        state_ = State::kLinked;
        return;
      }
    }
    if (end == std::string_view::npos) break;
    auto line = text.substr(0, end);
    text.remove_prefix(end + 1);
    searched_ = 0;
    if (line.ends_with('\r')) line.remove_suffix(1);  // a terminal that is not raw
    on_line(line);
    if (state_ == State::kFailed) return;
  }
  pending_.erase(0, pending_.size() - text.size());
  searched_ = pending_.size();
  if (noise_.size() + pending_.size() <= kNoiseMax) return;
  noise_.resize(std::min(noise_.size(), kNoiseMax));
  if (state_ == State::kWaitingForReady)
    fail(Phase::kShell, "64 KiB of output and no sign of our shell command",
         "make the account's start-up files print less, and check that its login shell is one");
  else
    fail(Phase::kHello, "64 KiB of output and no sign of the agent", kTransport);
}

void Handshake::feed_end() {
  noise_.append(pending_);
  pending_.clear();
  switch (state_) {
    case State::kWaitingForReady:
      return fail(Phase::kShell, "the connection ended before the shell was ready",
                  "check that the account's login shell runs commands");
    case State::kNeedsImage:
    case State::kUploading:
      return fail(Phase::kUpload, "the connection ended during the upload", kBroken);
    case State::kWaitingForHello:
      return fail(Phase::kHello, "the agent ended before it said hello", kBroken);
    case State::kLinked:
    case State::kFailed:
      return;
  }
}

Buffer Handshake::take_output() {
  return std::exchange(output_, {});
}

void Handshake::note_sent() {
  if (after_loader_ || !output_.empty()) return;
  all_sent_ = true;
  if (state_ == State::kUploading) state_ = State::kWaitingForHello;
}

Buffer Handshake::take_rest() {
  return std::exchange(rest_, {});
}

void Handshake::on_line(std::string_view line) {
  auto is = [&](std::string_view marker) {
    if (!line.starts_with(marker) || line.substr(marker.size(), nonce_.size()) != nonce_) return false;
    line.remove_prefix(marker.size() + nonce_.size());
    if (line.starts_with(' ')) line.remove_prefix(1);
    return true;
  };
  if (is(kError)) return on_error(line);
  if (state_ == State::kWaitingForReady && is(kReady)) return on_ready(line);
  if (after_loader_ && is(kLoaded)) return append_image(*std::exchange(after_loader_, nullptr));
  noise_.append(line);
  noise_.push_back('\n');
}

// machine, dd or printf, what is missing, the loader's file or "-" and the directories tried.
void Handshake::on_ready(std::string_view report) {
  report_ = report;
  std::string machine(next_field(report));
  has_dd_ = next_field(report) == "dd";
  auto missing = next_field(report);
  if (missing != "-") {
    if (missing.starts_with(',')) missing.remove_prefix(1);
    return fail(Phase::kShell, cat("the host has no ", missing, ", which starting there needs"),
                "install what is missing, or mend the PATH of the account");
  }
  if (next_field(report) == "-")
    return fail(
        Phase::kShell, cat("no directory where a file can be written and executed; tried ", report),
        "mount one of them without noexec, or set XDG_RUNTIME_DIR to a directory that allows execution");
  // Stage 0 has ended by now.
  if (!architecture_.empty() && (machine != architecture_ || !has_dd_)) {
    fail(
        Phase::kShell,
        cat("the host was taken for ", architecture_, " with dd; it is ", machine, has_dd_ ? "" : " without"),
        "connect again without the remembered architecture");
    error_.wrong_guess = true;
    return;
  }
  if (sent_early_) {
    state_ = all_sent_ ? State::kWaitingForHello : State::kUploading;
    return;
  }
  architecture_ = std::move(machine);
  state_ = State::kNeedsImage;
  if (images_.find(architecture_, kind_)) on_image();
}

void Handshake::on_image() {
  if (state_ != State::kNeedsImage) return;
  const Image* image = images_.find(architecture_, kind_);
  if (!image) {
    std::string known;
    for (auto name : images_.architectures()) known.append(known.empty() ? "" : ", ").append(name);
    // A hop knows only what it was given.
    known = known.empty() ? "; no image for that came from above"
                          : cat("; this program carries images for ", known);
    return fail(Phase::kShell, cat("the host is ", architecture_, known),
                "build banyan where a cross compiler for that architecture is installed");
  }
  state_ = State::kUploading;
  start_upload(*image, !has_dd_);
}

void Handshake::start_upload(const Image& image, bool in_octal) {
  all_sent_ = false;  // what was noted before was that there was nothing to send
  if (!in_octal) {
    output_.assign(image.loader.begin(), image.loader.end());
    return append_image(image);
  }
  // Letters as they are, all else in octal, as short as can be: no digit stands for itself, so none is
  // misread.
  std::size_t in_line = 0;
  for (std::uint8_t byte : image.loader) {
    if ((byte | 0x20) < 'a' || (byte | 0x20) > 'z') {
      output_.push_back('\\');
      if (byte >= 0100) output_.push_back(std::uint8_t('0' + (byte >> 6)));
      if (byte >= 010) output_.push_back(std::uint8_t('0' + (byte >> 3 & 7)));
      byte = std::uint8_t('0' + (byte & 7));
    }
    output_.push_back(byte);
    if (++in_line % kOctalBytes == 0) output_.push_back('\n');
  }
  for (char c : std::string_view("\n.\n")) output_.push_back(std::uint8_t(c));
  after_loader_ = &image;
}

void Handshake::append_image(const Image& image) {
  std::uint8_t header[kImageHeaderBytes];
  store_le(header, kImageMagic);
  store_le(header + 4, std::uint32_t(image.compressed.size()));
  store_le(header + 8, image.plain_bytes);
  output_.insert(output_.end(), header, header + sizeof header);
  output_.insert(output_.end(), image.compressed.begin(), image.compressed.end());
}

void Handshake::on_error(std::string_view report) {
  auto code = next_field(report);
  for (const Word& word : kWords)
    if (word.word == report)
      return fail(word.phase, cat(word.text, " (", report, " ", code, ")"), word.remedy);
  fail(Phase::kUpload, cat("the far end failed: ", report, " ", code), {});
}

void Handshake::fail(Phase phase, std::string text, std::string_view remedy) {
  std::string said = last_lines(noise_);
  if (!said.empty()) text.append(cat("; last output: ", said));
  error_.error_class = ErrorClass::kBootstrap;
  error_.phase = phase;
  make_printable(text);
  error_.text = std::move(text);
  error_.remedy = remedy;
  output_.clear();
  state_ = State::kFailed;
}

}  // namespace banyan
