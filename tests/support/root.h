// tests/support/root.h -- the root of a tree of real processes, in the test: what a program has of it, what
// it is told of those it starts, and the end of them all with it.
//
// Its children are local agents unless a test says otherwise. A test that wants more of it derives; one whose
// additions are used as long as there are children calls end_all() in its own destructor.
#pragma once

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <utility>

#include "parent/remote_runner.h"
#include "parent/runner.h"
#include "tests/support/tree.h"

namespace banyan::test {

// The image is decompressed once in a program's life: before the leak check counts descriptors.
inline const bool kImageIsOpen = bool(embedded_images().local_image(ImageKind::kAgent));

// What becomes of a start, as it is told.
struct Told {
  int up = 0;    // how often: that it is up, or why it is not
  int lost = 0;  // how often: that it is not any more
  std::optional<Child> child;
  Error error;  // the last
  Nanos lost_at = 0;
};

struct Root {
  EpollLoop loop;
  Router router{loop, config_of(0)};
  IdSource ids{router, kAllIds};
  RouteMonitor routes{router, ids};
  Told told;  // of start(), and of all others that they are lost
  Runner runner;
  RemoteRunner remote{router};
  bool is_over = false;

  explicit Root(ImageStore& images = embedded_images()) : runner(loop, router, images, ids, routes) {
    REQUIRE(kImageIsOpen);
  }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  ~Root() { end_all(); }

  static Recipe local(std::string name = "local") {
    Recipe recipe;
    recipe.name = std::move(name);
    recipe.method = "local";
    return recipe;
  }

  Runner::OnUp note_up(Told& whose) {
    return [&whose](const Result<Child>& result) {
      ++whose.up;
      if (result) {
        whose.child = *result;
      } else {
        whose.error = result.error();
      }
    };
  }
  Runner::OnLost note_loss(Told& whose) {
    return [this, &whose](ContextId, const Error& why) {
      ++whose.lost;
      whose.error = why;
      whose.lost_at = loop.now();
    };
  }

  // Beneath us; what becomes of it is in `told`.
  Runner::StartId start(Recipe recipe) {
    return runner.start(std::move(recipe), note_up(told), note_loss(told));
  }
  // Beneath `at`, 0: beneath us.
  void start(ContextId at, Recipe recipe, Runner::OnUp on_up, Runner::OnLost on_lost) {
    if (at == 0) {
      runner.start(std::move(recipe), std::move(on_up), std::move(on_lost));
    } else {
      remote.start(at, std::move(recipe), std::move(on_up), std::move(on_lost));
    }
  }
  // The same, and waits until it is up or is not to be.
  Result<Child> try_child(ContextId at) {
    std::optional<Result<Child>> result;
    start(
        at, local(), [&](const Result<Child>& child) { result = child; }, note_loss(told));
    REQUIRE(run_until(loop, [&] { return result.has_value(); }));
    return *result;
  }
  Child child(ContextId at) {
    const Result<Child> child = try_child(at);
    INFO((child ? "" : child.error().text));
    REQUIRE(bool(child));
    return *child;
  }

  // Everything that may still come of our own starts has come: every process is reaped.
  bool settle() {
    return run_until(loop, [&] { return runner.count() == 0; });
  }
  // Once: whatever is beneath us, in whatever state. False if it has not ended.
  bool end_all(Nanos within = 10 * kSecond) {
    if (std::exchange(is_over, true)) return true;
    bool done = false;
    runner.shut_down_all(4 * kSecond, [&] { done = true; });
    return run_until(
        loop, [&] { return done; }, within);
  }
};

}  // namespace banyan::test
