// Goal: whatever a hostile child sends without end, or begins and does not end, costs bounded memory above it
// and nothing beside it, and is over in bounded time.
// Method: as hostile_child_test, but by the hundred thousand, and until the honest ones beside and above have
// had all their output heard and their outcomes, and ended; the most memory that the root and the agent next
// to the hostile one have had is compared before and after.
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
// its size where it waits, and the window is wider than the first where it is drained for a while; 4 MiB of
// answers; the queue of control twice, while it grows; what its calls leave in tables. Seen: 5 to 17 MiB.
// Whoever forgets nothing of such a flood grows by a hundred.
constexpr long kGrowthMaxKib = 32 * 1'024;

using Seconds = std::chrono::duration<double>;
constexpr double kPatience = 60;
constexpr const char* kTooFast = "control frames faster than allowed";

struct Flood {
  const char* what;
  // Nothing: the link lives on. Else the words with which it is cut off.
  const char* said;
  // Appends the n-th frame of it.
  std::function<void(const Impostor& us, const Scene& scene, int n, Buffer& out)> frame;
  bool is_answered = false;  // each: then it goes no faster than it reads
  bool keeps_credit = true;
  bool may_stall = false;  // its answers may come faster than it reads
  // With what all but some are refused, where there is a limit; and how many may be taken before.
  DeadReason limit = DeadReason::kNoHandle;
  const char* limit_text = nullptr;
  int taken_max = 0;
};

void append(Buffer& to, const Buffer& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void run(const Flood& flood, Place place) {
  Scene scene(place, 1);
  Impostor& us = scene[0];
  scene.let_them_finish();
  const auto began = std::chrono::steady_clock::now();
  const auto seconds = [began] { return Seconds(std::chrono::steady_clock::now() - began).count(); };
  bool lives = true, honest_have_finished = false;
  int said = 0;
  for (; lives && (said < kMany || (!honest_have_finished && seconds() < kPatience)); said += kBatch) {
    Buffer out;
    for (int i = said; i < said + kBatch; ++i) flood.frame(us, scene, i, out);
    lives = flood.keeps_credit ? us.write_with_credit(out) : us.write(out);
    const std::uint64_t due = std::uint64_t(std::max(said - flood.taken_max - 4 * kBatch, 0));
    for (int i = 0; i < 20 && flood.is_answered && us.answers < due && !us.is_over(); ++i) us.listen(1'000);
    if (said % (50 * kBatch) == 0) honest_have_finished = scene.have_honest_finished_meanwhile();
  }
  CAPTURE(flood.what, int(place), said, us.answers, us.replies, us.credits, us.heard.size());
  const bool may_stall = flood.is_answered || flood.may_stall;
  if (lives) CHECK(honest_have_finished);
  if (flood.limit_text != nullptr) {
    CHECK(us.texts[flood.limit] == flood.limit_text);
    CHECK(us.texts.size() == 1);
  }
  if (may_stall) {
    us.is_still_there();  // all of it was read; or we were too slow to read the answers, and cut off
  } else if (flood.said == nullptr) {
    CHECK(us.is_still_there());
  } else {
    CHECK(us.is_cut_off());
  }
  CHECK(us.answers <= std::uint64_t(said));  // one for a frame at most
  CHECK(seconds() < kPatience);
  const auto endings = scene.finish();
  const Scene::Ending& ours = endings.at(scene.name(0));
  const bool was_too_slow = may_stall && ours.error == "the other side does not read what it asked for";
  // What an agent has to pass on may fill the way up before a second is over.
  const bool filled_the_way = place != Place::kBeneathRoot && flood.said == kTooFast &&
                              ours.error == "more control than the way up takes";
  if (!was_too_slow && !filled_the_way)
    CHECK(ours.error == (flood.said == nullptr ? "the agent was killed by signal 9" : flood.said));
  scene.check_honest(endings, kGrowthMaxKib);
}

void run_in_all_places(const Flood& flood) {
  for (const Place place : kPlaces) run(flood, place);
}

}  // namespace

TEST_CASE("a flood of messages that nobody takes costs the flooder its window, and each is answered once") {
  for (const Handle reply_to : {kNoReply, Handle(1'000'000)})
    run_in_all_places({"to no handle", nullptr,
                       [reply_to](const Impostor& us, const Scene&, int, Buffer& out) {
                         append(out, frame(us.data(0, kNothingThere, reply_to)));
                       },
                       reply_to != kNoReply});
}

TEST_CASE("a flood of messages to nobody, or to whom one may not speak, is refused one by one") {
  run_in_all_places({"to nobody", nullptr,
                     [](const Impostor& us, const Scene&, int n, Buffer& out) {
                       append(out, frame(us.data(4'000'000'000u - ContextId(n), 7, 1'000'000)));
                     },
                     true});
  run_in_all_places({"to siblings", nullptr,
                     [](const Impostor& us, const Scene& scene, int n, Buffer& out) {
                       const ContextId to = n % 2 == 0 ? scene.sibling() : scene.elsewhere();
                       append(out, frame(us.data(to, kNothingThere, 1'000'000)));
                     },
                     true});
}

// A byte each, lest its first frame be its end, and to a handle that takes it.
TEST_CASE("a flood of streams, each with one frame, ends at the streams a link may have") {
  Flood flood{"streams", nullptr,
              [](const Impostor& us, const Scene&, int n, Buffer& out) {
                Header header = us.data(0, kLog, 1'000'000);
                header.stream = kFirstFreeStream + StreamId(n);
                append(out, frame(header, Buffer(1)));
              },
              true};
  flood.limit = DeadReason::kQuota;
  flood.limit_text = "too many streams";
  flood.taken_max = int(InboxLimits{}.streams_max);
  run_in_all_places(flood);
}

TEST_CASE("calls opened and cancelled without end leave nothing behind") {
  for (const Place place : kPlaces)
    run({"open and cancel", nullptr,
         [](const Impostor& us, const Scene&, int n, Buffer& out) {
           const Handle call = 1'000'000 + Handle(n / 2);
           if (n % 2 == 0) return append(out, frame(us.data(0, kLog, call)));
           append(out, frame(us.data(0, kCancel, call + 1'000'000'000), numbers({call})));
         },
         false, true, true},
        place);
}

TEST_CASE("records without end are shown by the hundred, not by the million") {
  run_in_all_places({"records", nullptr, [](const Impostor& us, const Scene&, int, Buffer& out) {
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
    for (const Place place : kPlaces) {
      run({"control", kTooFast,
           [handle = handle, payload = payload](const Impostor& us, const Scene& scene, int, Buffer& out) {
             const bool to_parent = handle == kAllocateId || handle == kDelRoute;
             append(out, frame(us.control(to_parent ? scene.parent() : 0, handle, 88'888), payload));
           },
           false, false},
          place);
    }
}

// So many that their windows together would be all that a link's window holds.
TEST_CASE("long messages that are begun and never go on hold up nobody else's") {
  for (const Place place : kPlaces) {
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
