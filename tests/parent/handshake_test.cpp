// Goal: whatever a login shell says, and however it is cut up, the parent either links or gives one clear
// error. Method: a hand-written far end, fed in every split; images of a few bytes; no process, no
// descriptor.
#include "parent/handshake.h"

#include <catch2/catch.hpp>

#include "core/frame.h"
#include "core/text.h"
#include "parent/image_header.h"

using namespace banyan;

namespace {

using State = Handshake::State;

constexpr std::uint64_t kNonce = 0x0123456789abcdef;
const std::string kReady = "BANYAN-READY 0123456789abcdef ";
const std::string kGood = "\n" + kReady + "x86_64 dd - /dev/shm/.banyan-0123456789abcdef.7\n";

Buffer bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

class Images final : public ImageStore {
 public:
  explicit Images(bool late = false) : are_late(late) {
    images_[0] = {"x86_64", as_bytes(kLoader), as_bytes(kCompressed), 1000, 1};
    images_[1] = {"aarch64", as_bytes("another loader"), as_bytes("another frame"), 2000, 2};
  }
  const Image* find(std::string_view architecture, ImageKind) const override {
    if (are_late) return nullptr;
    for (const Image& image : images_)
      if (image.architecture == architecture) return &image;
    return nullptr;
  }
  std::vector<std::string_view> architectures() const override { return {"x86_64", "aarch64"}; }
  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
  Result<int> local_image(ImageKind) override { return -1; }

  static constexpr std::string_view kLoader{"lo\0ad\n7%er\\\xff\x08\x40.", 15};
  static constexpr std::string_view kCompressed = "frame";
  bool are_late = false;

 private:
  Image images_[2];
};

struct Far {
  Images images;
  Handshake handshake;

  explicit Far(std::string expected = {}, bool images_are_late = false)
      : images(images_are_late), handshake(images, ImageKind::kAgent, kNonce, std::move(expected)) {}
  void says(std::string_view text) {
    handshake.feed(as_bytes(text));
    if (!images.are_late) handshake.on_image();
  }
  void get_image() {
    images.are_late = false;
    handshake.on_image();
  }
  std::string takes() {
    Buffer output = handshake.take_output();
    handshake.note_sent();
    return {output.begin(), output.end()};
  }
};

std::string upload() {
  std::string wire(Images::kLoader);
  std::uint8_t header[kImageHeaderBytes];
  store_le(header, kImageMagic);
  store_le(header + 4, std::uint32_t(Images::kCompressed.size()));
  store_le(header + 8, std::uint32_t(1000));
  wire.append(reinterpret_cast<char*>(header), sizeof header);
  return wire.append(Images::kCompressed);
}

// The first frame of a child, and the beginning of a second.
std::string frames() {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.handle = kHello;
  header.length = 4;
  std::uint8_t bytes[kHeaderBytes];
  encode_header(header, bytes);
  std::string wire(reinterpret_cast<char*>(bytes), sizeof bytes);
  return wire.append("\nBN\nBN\x01");
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// What the shell would make of the octal lines.
std::string unescape(std::string_view lines) {
  std::string out;
  for (std::size_t i = 0; i < lines.size();) {
    if (lines[i] == '\n') {
      ++i;
    } else if (lines[i] != '\\') {
      out.push_back(lines[i++]);
    } else {
      int value = 0;
      ++i;
      for (int digits = 0; digits < 3 && i < lines.size() && lines[i] >= '0' && lines[i] <= '7'; ++digits)
        value = value * 8 + (lines[i++] - '0');
      out.push_back(static_cast<char>(value));
    }
  }
  return out;
}

}  // namespace

TEST_CASE("a good dialogue links, and its first frame arrives whole, however it is split") {
  const std::string noise = "Welcome!\r\nBANYAN-READY is not for you\n\n";
  const std::string dialogue = noise + kGood + "late noise\n" + frames();
  for (std::size_t first = 0; first <= dialogue.size(); ++first)
    for (std::size_t second = first; second <= dialogue.size(); second += 7) {
      Far far;
      std::string sent;
      for (auto part :
           {dialogue.substr(0, first), dialogue.substr(first, second - first), dialogue.substr(second)}) {
        far.says(part);
        sent += far.takes();
      }
      INFO(cat("split at ", first, " and ", second));
      REQUIRE(far.handshake.state() == State::kLinked);
      REQUIRE(sent == upload());
      REQUIRE(far.handshake.take_rest() == bytes_of(frames()));
      REQUIRE(far.handshake.architecture() == "x86_64");
    }
}

TEST_CASE("a good dialogue links when it comes a byte at a time, frames beside an unfinished line of noise") {
  Far far;
  std::string sent;
  for (char c : kGood + "no end of line" + frames()) {
    far.says({&c, 1});
    sent += far.takes();
  }
  CHECK(far.handshake.state() == State::kLinked);
  CHECK(sent == upload());
  CHECK(far.handshake.take_rest() == bytes_of(frames()));
  CHECK(contains(far.handshake.noise(), "no end of line"));
}

TEST_CASE("each state of the dialogue is entered when it should be") {
  Far far;
  CHECK(far.handshake.state() == State::kWaitingForReady);
  CHECK(far.handshake.take_output().empty());
  far.handshake.note_sent();  // nothing: that is not the upload
  far.says(kGood);
  CHECK(far.handshake.state() == State::kUploading);
  far.handshake.note_sent();
  CHECK(far.handshake.state() == State::kUploading);  // it was not taken yet
  CHECK(far.handshake.take_output() == bytes_of(upload()));
  CHECK(far.handshake.take_output().empty());
  far.handshake.note_sent();
  CHECK(far.handshake.state() == State::kWaitingForHello);
  far.says(frames());
  CHECK(far.handshake.state() == State::kLinked);
}

TEST_CASE("a peer of another version links, so that its frame can be refused for what it is") {
  Far far;
  far.says(kGood);
  far.says("BN\x63\x0b");
  CHECK(far.handshake.state() == State::kLinked);
}

TEST_CASE("just under 64 KiB of noise before the marker is borne, more is not a shell") {
  std::string noise(kNoiseMax - 1, 'x');
  for (std::size_t i = 70; i < noise.size(); i += 70) noise[i] = '\n';
  Far patient;
  patient.says(noise);
  patient.says(kGood);
  CHECK(patient.handshake.state() == State::kUploading);

  for (std::string_view more : {"xx", "x\nx\n"}) {
    Far far;
    far.says(noise + std::string(more));
    REQUIRE(far.handshake.state() == State::kFailed);
    CHECK(far.handshake.error().phase == Phase::kShell);
    CHECK(contains(far.handshake.error().text, "64 KiB of output"));
    CHECK(far.handshake.noise().size() <= kNoiseMax);
  }

  Far one_line;
  one_line.says(std::string(kNoiseMax + 1, 'y'));
  CHECK(one_line.handshake.state() == State::kFailed);

  Far late;
  late.says(kGood);
  late.says(noise + "x\nx\n");
  REQUIRE(late.handshake.state() == State::kFailed);
  CHECK(late.handshake.error().phase == Phase::kHello);
}

TEST_CASE("a marker with another nonce, or inside a line, is noise") {
  Far far;
  far.says("\nBANYAN-READY 0123456789abcdee x86_64 dd - /tmp/f\n");
  far.says("+ echo " + kReady + "x86_64 dd - /tmp/f\n");
  far.says("\nBANYAN-ERROR 0123456789abcdee 0 upload\n");
  CHECK(far.handshake.state() == State::kWaitingForReady);
  CHECK(far.handshake.take_output().empty());
}

TEST_CASE("carriage returns of a terminal do not hide the marker") {
  Far far;
  far.says("hello\r\n\r\n" + kReady + "x86_64 dd - /tmp/f\r\n");
  CHECK(far.handshake.state() == State::kUploading);
}

TEST_CASE("an architecture without an image is refused, naming it and those there are") {
  Far far;
  far.says("\n" + kReady + "armv7l dd - /tmp/f\n");
  REQUIRE(far.handshake.state() == State::kFailed);
  CHECK(far.handshake.error().error_class == ErrorClass::kBootstrap);
  CHECK(far.handshake.error().phase == Phase::kShell);
  CHECK(contains(far.handshake.error().text, "armv7l"));
  CHECK(contains(far.handshake.error().text, "x86_64, aarch64"));
  CHECK(contains(far.handshake.error().remedy, "cross compiler"));
  CHECK(far.handshake.take_output().empty());
}

TEST_CASE("a host without a writable and executable directory is told which were tried and what to do") {
  Far far;
  far.says("\n" + kReady + "x86_64 dd - - /run/user/7 /dev/shm /tmp\n");
  REQUIRE(far.handshake.state() == State::kFailed);
  CHECK(contains(far.handshake.error().text, "tried /run/user/7 /dev/shm /tmp"));
  CHECK(contains(far.handshake.error().remedy, "XDG_RUNTIME_DIR"));
}

TEST_CASE("missing commands are named") {
  Far far;
  far.says("\n" + kReady + "- dd ,chmod,uname /tmp/f\n");
  REQUIRE(far.handshake.state() == State::kFailed);
  CHECK(contains(far.handshake.error().text, "no chmod,uname"));
}

TEST_CASE("reports cut short or odd are refused, not read past their end") {
  for (std::string_view report :
       {"", " ", "x86_64", "x86_64 dd", "x86_64 dd  ", "  -  -", "x86_64 dd , /tmp/f"}) {
    Far far;
    far.says("\n" + kReady + std::string(report) + "\n");
    INFO(cat("report '", report, "'"));
    CHECK(far.handshake.state() != State::kLinked);
    CHECK(far.handshake.state() != State::kWaitingForReady);
  }
}

TEST_CASE("with an expected architecture all is sent before the marker") {
  Far far("x86_64");
  CHECK(far.takes() == upload());
  CHECK(far.handshake.state() == State::kWaitingForReady);
  far.says(kGood);
  CHECK(far.handshake.state() == State::kWaitingForHello);
  CHECK(far.takes().empty());
  far.says(frames());
  CHECK(far.handshake.state() == State::kLinked);
}

TEST_CASE("a wrong expectation is told apart from failures that would happen again") {
  for (std::string_view report : {"aarch64 dd - /tmp/f", "x86_64 printf - /tmp/f"}) {
    Far far("x86_64");
    far.says("\n" + kReady + std::string(report) + "\n");
    REQUIRE(far.handshake.state() == State::kFailed);
    CHECK(far.handshake.error().wrong_guess);
  }
  Far nowhere("x86_64");
  nowhere.says("\n" + kReady + "x86_64 dd - - /tmp\n");
  REQUIRE(nowhere.handshake.state() == State::kFailed);
  CHECK_FALSE(nowhere.handshake.error().wrong_guess);

  Far without_image("riscv64");
  CHECK(without_image.takes().empty());
  without_image.says(kGood);
  CHECK(without_image.handshake.error().wrong_guess);
}

TEST_CASE("an image that comes later is sent when it is there, whether or not the machine was expected") {
  for (const char* expected : {"", "x86_64"}) {
    Far far(expected, true);
    far.says(kGood);
    CHECK(far.handshake.state() == State::kNeedsImage);
    CHECK(far.handshake.architecture() == "x86_64");
    CHECK(far.takes().empty());
    CHECK(far.handshake.state() == State::kNeedsImage);

    far.get_image();

    CHECK(far.takes() == upload());
    CHECK(far.handshake.state() == State::kWaitingForHello);
    far.handshake.on_image();
    CHECK(far.takes().empty());
    far.says(frames());
    CHECK(far.handshake.state() == State::kLinked);
  }
}

TEST_CASE("while an image is on its way a far end that ends, fails or says much is not taken for a child") {
  Far gone("", true), failed("", true), early("", true), noisy("", true);
  for (Far* far : {&gone, &failed, &early, &noisy}) {
    far->says(kGood);
    REQUIRE(far->handshake.state() == State::kNeedsImage);
  }
  gone.handshake.feed_end();
  CHECK(gone.handshake.state() == State::kFailed);
  CHECK((gone.handshake.error().phase == Phase::kUpload));
  gone.get_image();
  CHECK(gone.handshake.state() == State::kFailed);
  CHECK(gone.takes().empty());

  failed.says("BANYAN-ERROR 0123456789abcdef 3 upload\n");
  CHECK(failed.handshake.state() == State::kFailed);

  early.says(frames());
  CHECK(early.handshake.state() == State::kNeedsImage);

  noisy.says(std::string(kNoiseMax + 1, 'x'));
  CHECK(noisy.handshake.state() == State::kFailed);
}

TEST_CASE("without dd the loader goes as printf lines, and the image only once it is in place") {
  Far far;
  far.says("\n" + kReady + "x86_64 printf - /tmp/f\n");
  std::string lines = far.takes();
  REQUIRE(lines.size() > 3);
  CHECK(lines.substr(lines.size() - 3) == "\n.\n");
  CHECK(unescape(lines.substr(0, lines.size() - 3)) == Images::kLoader);
  CHECK(lines.find_first_of(" \t%'") == std::string::npos);
  CHECK(far.handshake.state() == State::kUploading);

  far.says("\nBANYAN-LOADED 0123456789abcdef\n");
  CHECK(far.takes() == upload().substr(Images::kLoader.size()));
  CHECK(far.handshake.state() == State::kWaitingForHello);
}

TEST_CASE("what stage 0 and the loader report becomes a sentence with its phase") {
  struct Row {
    std::string_view line;
    Phase phase;
    std::string_view text;
  };
  const Row rows[] = {
      {"0 stopped", Phase::kShell, "stopped by a signal"},
      {"0 upload", Phase::kUpload, "did not arrive whole"},
      {"126 exec", Phase::kUpload, "could not execute the loader (exec 126)"},
      {"5 input", Phase::kUpload, "could not read"},
      {"0 truncated", Phase::kUpload, "ended before"},
      {"0 header", Phase::kUpload, "not an image"},
      {"0 memory", Phase::kUpload, "memory"},
      {"0 frame", Phase::kUpload, "size"},
      {"22 corrupt", Phase::kUpload, "damaged on the way (corrupt 22)"},
      {"13 execute", Phase::kHello, "refused to execute"},
      {"1 surprise", Phase::kUpload, "surprise 1"},
      {"", Phase::kUpload, "failed"},
  };
  for (const Row& row : rows) {
    Far far;
    far.says(kGood);
    far.says("\nBANYAN-ERROR 0123456789abcdef " + std::string(row.line) + "\nBN");
    INFO(std::string(row.line));
    REQUIRE(far.handshake.state() == State::kFailed);
    CHECK(far.handshake.error().phase == row.phase);
    CHECK(contains(far.handshake.error().text, row.text));
  }
}

TEST_CASE("the end of the transport is named by the phase it cuts off, with the last lines it said") {
  Far waiting;
  waiting.says("one\ntwo\nthree\n\x1b[2Jfour\n\nlast");
  waiting.handshake.feed_end();
  REQUIRE(waiting.handshake.state() == State::kFailed);
  CHECK(waiting.handshake.error().phase == Phase::kShell);
  CHECK(contains(waiting.handshake.error().text, "last output: three|?[2Jfour|last"));
  CHECK_FALSE(contains(waiting.handshake.error().text, "two"));

  Far uploading;
  uploading.says(kGood);
  uploading.handshake.feed_end();
  CHECK(uploading.handshake.error().phase == Phase::kUpload);

  Far hello;
  hello.says(kGood);
  hello.takes();
  hello.handshake.feed_end();
  CHECK(hello.handshake.error().phase == Phase::kHello);

  Far linked;
  linked.says(kGood + frames());
  linked.handshake.feed_end();
  CHECK(linked.handshake.state() == State::kLinked);
}

TEST_CASE("after a failure nothing more is taken or given") {
  Far far;
  far.says("\n" + kReady + "x86_64 dd ,rm /tmp/f\n");
  const std::string text = far.handshake.error().text;
  far.says(kGood + frames());
  far.handshake.feed_end();
  CHECK(far.handshake.state() == State::kFailed);
  CHECK(far.handshake.error().text == text);
  CHECK(far.handshake.take_output().empty());
}
