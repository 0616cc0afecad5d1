// Goal: a hundred links on which a frame comes byte by byte are each given up in time, and cost nobody else
// anything.
// Method: the real program; beneath it and beneath an agent fifty contexts each that were taken over, and
// say one byte of a frame a second, never a whole one.
#include "tests/end_to_end/hostile_scene.h"

using namespace banyan;
using namespace banyan::test;

TEST_CASE(
    "a hundred links on which frames trickle are given up after their silence, and the others work on") {
  constexpr std::size_t kLinks = 50;
  Scene beneath_root(Place::kBeneathRoot, kLinks), beneath_agent(Place::kBeneathAgent, kLinks);
  // An answer to a heartbeat would be read as a part of the frame.
  for (Scene* scene : {&beneath_root, &beneath_agent})
    for (std::size_t i = 0; i < kLinks; ++i) (*scene)[i].listens = false;
  const auto began = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  double first = 0;
  std::size_t over = 0;
  for (std::size_t at = 0; over < 2 * kLinks && seconds() < 20 + kSlack; ++at) {
    over = 0;
    for (Scene* scene : {&beneath_root, &beneath_agent})
      for (std::size_t i = 0; i < kLinks; ++i) {
        Impostor& us = (*scene)[i];
        const Buffer whole = frame(us.data(0, kLog), Buffer(1'000));
        if (!us.is_over()) us.write(Bytes(whole).subspan(at, 1));
        over += us.is_over();
      }
    if (over > 0 && first == 0) first = seconds();
    ::poll(nullptr, 0, 1'000);
  }
  CHECK(over == 2 * kLinks);
  CHECK(first > 10);
  CHECK(seconds() < 20 + kSlack);
  for (Scene* scene : {&beneath_root, &beneath_agent}) {
    const auto endings = scene->finish();
    for (std::size_t i = 0; i < kLinks; ++i) {
      const Scene::Ending& ending = endings.at(scene->name(i));
      CHECK(ending.endings == 1);
      CHECK_THAT(ending.error, Catch::StartsWith("nothing was heard for 1"));  // 15 or little more
    }
    scene->check_honest(endings);
  }
}
