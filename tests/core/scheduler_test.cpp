// Goal: whoever floods a link takes its own share of it and no more, and no flow loses its order.
// Method: frames of several origins and streams are queued, and what comes out is counted in bytes.

#include "core/scheduler.h"

#include <time.h>

#include <catch2/catch.hpp>
#include <map>
#include <vector>

namespace banyan {
namespace {

QueuedFrame frame_of(std::uint32_t origin, ContextId source, StreamId stream, std::size_t bytes,
                     Handle number = 0) {
  QueuedFrame frame;
  frame.origin = origin;
  frame.header.flags = kFirst | kLast;
  frame.header.source = source;
  frame.header.destination = 1;
  frame.header.stream = stream;
  frame.header.handle = number;
  frame.header.length = std::uint32_t(bytes);
  frame.payload.resize(bytes);
  return frame;
}

TEST_CASE("an empty scheduler has no next frame") {
  FrameScheduler scheduler;
  CHECK(scheduler.empty());
  CHECK(scheduler.next() == nullptr);
  CHECK(scheduler.drain().empty());
}

TEST_CASE("next names the frame that pop takes, and bytes are counted with their headers") {
  FrameScheduler scheduler;
  scheduler.push(frame_of(1, 2, 0, 100, 7));
  scheduler.push(frame_of(2, 3, 0, 0, 8));
  CHECK(scheduler.bytes() == 100 + 2 * kHeaderBytes);
  for (std::size_t left = 2; left > 0; --left) {
    const QueuedFrame* next = scheduler.next();
    REQUIRE(next != nullptr);
    const Handle number = next->header.handle;
    CHECK(scheduler.next() == next);
    CHECK(scheduler.pop().header.handle == number);
  }
  CHECK(scheduler.empty());
  CHECK(scheduler.bytes() == 0);
}

TEST_CASE("frames of one flow keep their order, whatever else is queued between them") {
  FrameScheduler scheduler;
  std::uint64_t state = 7;
  auto random = [&] { return (state = state * 6364136223846793005u + 1442695040888963407u) >> 33; };
  std::map<std::vector<std::uint64_t>, Handle> pushed, popped;
  bool in_order = true;
  std::size_t count = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 2 == 0 || scheduler.empty()) {
      const auto origin = std::uint32_t(random() % 4);
      const auto source = ContextId(10 * origin + random() % 3);
      const auto stream = StreamId(random() % 3);
      scheduler.push(frame_of(origin, source, stream, random() % 3000, ++pushed[{origin, source, stream}]));
      ++count;
    } else {
      const QueuedFrame frame = scheduler.pop();
      const Handle number = ++popped[{frame.origin, frame.header.source, frame.header.stream}];
      in_order = in_order && frame.header.handle == number;
      --count;
    }
  }
  CHECK(in_order);
  CHECK(scheduler.drain().size() == count);
  CHECK(scheduler.bytes() == 0);
}

// How many bytes of each origin are among the first `bytes` to leave.
std::map<std::uint32_t, std::size_t> shares(FrameScheduler& scheduler, std::size_t bytes) {
  std::map<std::uint32_t, std::size_t> of;
  for (std::size_t sent = 0; sent < bytes && !scheduler.empty();) {
    const QueuedFrame frame = scheduler.pop();
    sent += frame.header.wire_bytes();
    of[frame.origin] += frame.header.wire_bytes();
  }
  return of;
}

TEST_CASE("an origin with many streams and large frames gets no more than one with a single small stream") {
  FrameScheduler scheduler;
  for (StreamId stream = 0; stream < 50; ++stream)
    for (int i = 0; i < 4; ++i) scheduler.push(frame_of(1, 2, stream, kFramePayloadMax));
  for (int i = 0; i < 4'000; ++i) scheduler.push(frame_of(2, 3, 0, 1'000));
  const auto of = shares(scheduler, 4 << 20);
  // One turn of difference at most: a full frame.
  CHECK(of.at(1) <= of.at(2) + kFramePayloadMax + 2 * kHeaderBytes);
  CHECK(of.at(2) <= of.at(1) + kFramePayloadMax + 2 * kHeaderBytes);
}

TEST_CASE("streams of one origin share its turns evenly") {
  FrameScheduler scheduler;
  for (int i = 0; i < 40; ++i) scheduler.push(frame_of(1, 2, 5, kFramePayloadMax));
  for (int i = 0; i < 4'000; ++i) scheduler.push(frame_of(1, 2, 6, 500));
  std::map<StreamId, std::size_t> of;
  for (std::size_t sent = 0; sent < 2 << 20;) {
    const QueuedFrame frame = scheduler.pop();
    sent += frame.header.wire_bytes();
    of[frame.header.stream] += frame.header.wire_bytes();
  }
  CHECK(of[5] <= of[6] + kFramePayloadMax + 2 * kHeaderBytes);
  CHECK(of[6] <= of[5] + kFramePayloadMax + 2 * kHeaderBytes);
}

TEST_CASE("a frame that comes when others have queued for long waits a turn of each, no longer") {
  FrameScheduler scheduler;
  constexpr std::uint32_t kOrigins = 10;
  for (std::uint32_t origin = 1; origin <= kOrigins; ++origin)
    for (int i = 0; i < 30; ++i) scheduler.push(frame_of(origin, origin, 0, kFramePayloadMax));
  for (int i = 0; i < 50; ++i) scheduler.pop();
  scheduler.push(frame_of(99, 99, 0, 10));
  std::size_t before = 0;
  while (scheduler.pop().origin != 99) ++before;
  CHECK(before <= kOrigins);
}

TEST_CASE("who was idle has not saved up turns") {
  FrameScheduler scheduler;
  for (int round = 0; round < 100; ++round) {  // one small frame at a time leaves most of a turn unused
    scheduler.push(frame_of(1, 2, 0, 10));
    scheduler.pop();
  }
  for (int i = 0; i < 100; ++i) {
    scheduler.push(frame_of(1, 2, 0, kFramePayloadMax));
    scheduler.push(frame_of(2, 3, 0, kFramePayloadMax));
  }
  const auto of = shares(scheduler, 20 * kFramePayloadMax);
  CHECK(of.at(1) <= of.at(2) + kFramePayloadMax + 2 * kHeaderBytes);
}

// A window of 2 MiB holds 52,000 empty frames; each may be of a stream of its own.
TEST_CASE("a window full of empty frames, each of another stream, is queued and served in no time") {
  FrameScheduler scheduler;
  constexpr std::uint32_t kFrames = (2 << 20) / kHeaderBytes;
  timespec begin, end;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
  for (std::uint32_t i = 0; i < kFrames; ++i) scheduler.push(frame_of(1, 2, i, 0));
  while (!scheduler.empty()) scheduler.pop();
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  const double seconds = double(end.tv_sec - begin.tv_sec) + double(end.tv_nsec - begin.tv_nsec) * 1e-9;
  CHECK(seconds < 1.0);  // a few hundredths; a search through all of them for each takes ten seconds
}

}  // namespace
}  // namespace banyan
