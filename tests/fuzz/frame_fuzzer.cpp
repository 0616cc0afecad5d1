// Goal: whatever bytes a peer sends, and however they are split, a link neither crashes nor hangs, hands over
// only frames that are in the bytes, tells of its end once, and tells the same story for every split. Method:
// the bytes over a simulated wire into a Link, with two seeds that split them differently; beside it a
// decoder of four lines that sees them in one piece.

#include <memory>
#include <vector>

#include "core/link.h"
#include "tests/simulation/sim_loop.h"

using namespace banyan;

namespace {

constexpr std::size_t kRepeatedBytes = 600 * 1024;

struct Seen {
  Header header;
  Buffer payload;
  bool operator==(const Seen&) const = default;
};

struct Story {
  std::vector<Seen> frames;
  int ends = 0;
  ErrorClass end = ErrorClass::kIo;
};

struct Recorder final : Link::Owner {
  Story story;
  void on_frame(Link& link, const Header& header, Bytes payload) override {
    ASSERT(story.ends == 0);
    story.frames.push_back({header, Buffer(payload.begin(), payload.end())});
    if (!header.has(kControl)) link.release(header.wire_bytes());
  }
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link& link, const Error& error, FrameQueue) override {
    ASSERT(!link.is_open());
    ++story.ends;
    story.end = error.error_class;
  }
};

Story tell(Bytes bytes, std::uint64_t seed) {
  SimWorld world(seed);
  SimLoop& ours = world.add_loop();
  SimLoop& theirs = world.add_loop();
  SimWire wire;
  wire.capacity = 1 << 20;
  const auto [our_fd, their_fd] = world.make_pair(ours, theirs, wire);
  Recorder recorder;
  WindowBudget budget;
  Link link(ours, {our_fd, our_fd}, recorder, {}, budget, false);

  std::size_t sent = 0;
  bool is_broken = false;
  while (sent < bytes.size() && !is_broken) {
    const iovec part = {const_cast<std::uint8_t*>(bytes.data()) + sent, bytes.size() - sent};
    const IoResult result = theirs.write(their_fd, &part, 1);
    if (result.status == IoResult::Status::kOk) sent += result.bytes;
    is_broken = result.status == IoResult::Status::kError;
    if (world.one_in(4)) world.run_for(kMillisecond);
  }
  // Reads what it is answered before it hangs up, or what it wrote last might be lost on the way. A rough
  // wire says "would block" in vain now and then, but not eight times in a row.
  for (int blocked = 0; blocked < 8;) {
    std::uint8_t buffer[4096];
    const IoResult result = theirs.read(their_fd, buffer, sizeof buffer);
    if (result.status == IoResult::Status::kEnd || result.status == IoResult::Status::kError) break;
    if (result.status == IoResult::Status::kOk || world.step(world.now() + 10 * kMillisecond))
      blocked = 0;
    else
      ++blocked;
  }
  theirs.close(their_fd);
  ASSERT(world.run_until([&] { return recorder.story.ends > 0; }, 60 * kSecond));
  ASSERT(world.run_until_idle());
  ASSERT(recorder.story.ends == 1);
  return std::move(recorder.story);
}

// What is in the bytes, up to the first thing that is no frame.
std::vector<Seen> frames_in(Bytes bytes) {
  std::vector<Seen> frames;
  while (bytes.size() >= kHeaderBytes) {
    const Result<Header> header = decode_header(bytes.data());
    if (!header || header->wire_bytes() > bytes.size()) break;
    std::uint8_t again[kHeaderBytes];
    encode_header(*header, again);
    ASSERT(std::equal(again, again + kHeaderBytes, bytes.begin()));
    const Bytes payload = bytes.subspan(kHeaderBytes, header->length);
    frames.push_back({*header, Buffer(payload.begin(), payload.end())});
    bytes = bytes.subspan(header->wire_bytes());
  }
  return frames;
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's choice
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Buffer bytes(data, data + size);
  // Of what is all frames sometimes enough to fill the link's read buffer, and to make it start over.
  std::size_t whole = 0;
  for (const Seen& seen : frames_in(bytes)) whole += seen.header.wire_bytes();
  if (size > 0 && size % 64 == 0 && whole == size)
    while (bytes.size() < kRepeatedBytes) bytes.insert(bytes.end(), data, data + size);
  const Story first = tell(bytes, 1);
  const Story second = tell(bytes, size + 2);
  ASSERT(first.frames == second.frames);
  ASSERT(first.end == second.end);

  // Heartbeats and credit are the link's own; all else comes through, in order, until the link ends.
  std::size_t next = 0;
  for (const Seen& seen : frames_in(bytes))
    if (next < first.frames.size() && first.frames[next] == seen) ++next;
  ASSERT(next == first.frames.size());
  return 0;
}
