// Goal: whatever a hostile child sends without end, or begins and does not end, costs bounded memory above it
// and nothing beside it, and is over in bounded time.
// Method: as hostile_child_test, but by the hundred thousand, while the honest siblings do their work; the
// most memory that the root and the agent between have had is compared before and after.
#include <functional>

#include "tests/end_to_end/hostile_scene.h"

using namespace banyan;
using namespace banyan::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMany = 100'000;
#else
constexpr int kMany = 1'000'000;
#endif
constexpr Handle kNothingThere = 5'000;
constexpr int kBatch = 500;  // frames in one write
// What one link may cost: a window full of the smallest frames, each of which is remembered with three times
// its size where it waits; the queue of control twice, while it grows; what its calls and answers leave in
// tables.
constexpr long kGrowthMaxKib = 16 * 1'024;

using Seconds = std::chrono::duration<double>;

struct Flood {
  const char* what;
  // Nothing: the link lives on. Else the words with which it is cut off.
  const char* said;
  // Appends the n-th frame of it.
  std::function<void(const Impostor& us, const Scene& scene, int n, Buffer& out)> frame;
  bool is_answered = false;  // each: then it goes no faster than it reads
  bool keeps_credit = true;
  bool may_stall = false;  // its answers may come faster than it reads
};

void append(Buffer& to, const Buffer& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void run(const Flood& flood, Place place) {
  Scene scene(place, 1);
  Impostor& us = scene[0];
  scene.let_them_finish();
  const auto began = std::chrono::steady_clock::now();
  bool lives = true;
  for (int n = 0; n < kMany && lives; n += kBatch) {
    Buffer out;
    for (int i = n; i < n + kBatch; ++i) flood.frame(us, scene, i, out);
    lives = flood.keeps_credit ? us.write_with_credit(out) : us.write(out);
    for (int i = 0;
         i < 20 && flood.is_answered && us.answers + 4 * kBatch < std::uint64_t(n) && !us.is_over(); ++i)
      us.listen(1'000);
  }
  CAPTURE(flood.what, int(place), us.answers, us.replies, us.credits, us.heard.size());
  const bool may_stall = flood.is_answered || flood.may_stall;
  if (may_stall) {
    us.is_still_there();  // all of it was read; or we were too slow to read the answers, and cut off
  } else if (flood.said == nullptr) {
    CHECK(us.is_still_there());
  } else {
    CHECK(us.is_cut_off());
  }
  CHECK(us.answers <= std::uint64_t(kMany));  // one for a frame at most
  CHECK(Seconds(std::chrono::steady_clock::now() - began).count() < 40);
  const auto endings = scene.finish();
  const Scene::Ending& ours = endings.at(scene.name(0));
  const bool was_too_slow = may_stall && ours.error == "the other side does not read what it asked for";
  if (!was_too_slow)
    CHECK(ours.error == (flood.said == nullptr ? "the agent was killed by signal 9" : flood.said));
  scene.check_honest(endings, kGrowthMaxKib);
}

void run_beneath_root_and_agent(const Flood& flood) {
  run(flood, Place::kBeneathRoot);
  run(flood, Place::kBeneathAgent);
}

}  // namespace

TEST_CASE("a flood of messages that nobody takes costs the flooder its window, and each is answered once") {
  for (const Handle reply_to : {kNoReply, Handle(1'000'000)})
    run_beneath_root_and_agent({"to no handle", nullptr,
                                [reply_to](const Impostor& us, const Scene&, int, Buffer& out) {
                                  append(out, frame(us.data(0, kNothingThere, reply_to)));
                                },
                                reply_to != kNoReply});
}

TEST_CASE("a flood of messages to nobody, or to whom one may not speak, is refused one by one") {
  run_beneath_root_and_agent({"to nobody", nullptr,
                              [](const Impostor& us, const Scene&, int n, Buffer& out) {
                                append(out, frame(us.data(4'000'000'000u - ContextId(n), 7, 1'000'000)));
                              },
                              true});
  run_beneath_root_and_agent({"to siblings", nullptr,
                              [](const Impostor& us, const Scene& scene, int n, Buffer& out) {
                                const ContextId to = n % 2 == 0 ? scene.sibling() : scene.elsewhere();
                                append(out, frame(us.data(to, kNothingThere, 1'000'000)));
                              },
                              true});
}

TEST_CASE("a flood of streams, each with one frame, ends at the streams a link may have") {
  run_beneath_root_and_agent({"streams", nullptr,
                              [](const Impostor& us, const Scene&, int n, Buffer& out) {
                                Header header = us.data(0, kNothingThere, 1'000'000);
                                header.stream = kFirstFreeStream + StreamId(n);
                                append(out, frame(header));
                              },
                              true});
}

TEST_CASE("calls opened and cancelled without end leave nothing behind") {
  run_beneath_root_and_agent({"open and cancel", nullptr,
                              [](const Impostor& us, const Scene&, int n, Buffer& out) {
                                const Handle call = 1'000'000 + Handle(n / 2);
                                if (n % 2 == 0) return append(out, frame(us.data(0, kLog, call)));
                                append(out,
                                       frame(us.data(0, kCancel, call + 1'000'000'000), numbers({call})));
                              },
                              false, true, true});
}

TEST_CASE("records without end are shown by the hundred, not by the million") {
  run_beneath_root_and_agent(
      {"records", nullptr, [](const Impostor& us, const Scene&, int, Buffer& out) {
         append(out, frame(us.data(0, kLog), Packer().array(2).number(0).text("much").take()));
       }});
}

TEST_CASE("control beyond its rate costs the link, and no other") {
  struct Kind {
    Handle handle;
    Buffer payload;
  };
  for (const auto& [handle, payload] :
       {Kind{kHeartbeat, numbers({1})}, Kind{kHold, {}}, Kind{kCancel, numbers({77})},
        Kind{kAllocateId, numbers({1})}, Kind{kDelRoute, numbers({7})}, Kind{kStreamBlocked, numbers({7})}})
    run_beneath_root_and_agent(
        {"control", "control frames faster than allowed",
         [handle = handle, payload = payload](const Impostor& us, const Scene& scene, int, Buffer& out) {
           const bool to_parent = handle == kAllocateId || handle == kDelRoute;
           append(out, frame(us.control(to_parent ? scene.parent() : 0, handle, 88'888), payload));
         },
         false, false});
}

// So many that their windows together would be all that a link's window holds.
TEST_CASE("long messages that are begun and never go on hold up nobody else's") {
  for (const Place place : {Place::kBeneathRoot, Place::kBeneathAgent}) {
    CAPTURE(int(place));
    Scene scene(place, 1);
    Impostor& us = scene[0];
    for (StreamId stream = kFirstFreeStream; stream < 50; ++stream) {
      Header header = us.data(0, kLog);
      header.flags = kFirst;
      header.stream = stream;
      Buffer payload(60'000);
      store_le<std::uint64_t>(payload.data(), kMessageMax);
      us.write(frame(header, payload));
    }
    const auto endings = scene.finish();
    scene.check_honest(endings, kGrowthMaxKib);
  }
}
