// parent/runner.h -- runs recipes: starts the transport, brings a context up at its far end, supervises it.
//
// Present in every context that has children. Thread: the loop's. Lifetime: end with shut_down() before
// destruction; the destructor kills what still runs and reaps it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/router.h"
#include "parent/image.h"
#include "parent/recipe.h"

namespace banyan {

// What a new context says of itself in its first frame.
struct Hello {
  std::string architecture, kernel, host_name, user_name;
  std::uint32_t uid = 0;
  std::int64_t pid = 0;
  std::uint64_t image_id = 0;
  std::uint64_t nonce = 0;

  Buffer encode() const;
  static Result<Hello> decode(Bytes bytes);
};

// What its parent makes it, in answer.
struct Identity {
  ContextId id = 0;
  ContextId first_id = 0;  // first of the range it may give to children of its own
  std::uint32_t id_count = 0;
  std::vector<ContextId> ancestors;  // nearest first
  std::string name;
  Sideways sideways = Sideways::kVertical;
  std::uint32_t message_max = kMessageMax;
  std::uint8_t log_level = 0;  // core/log.h
  LinkLimits limits;

  Buffer encode() const;
  static Result<Identity> decode(Bytes bytes);
};

// A context that is up.
struct Child {
  ContextId id = 0;
  std::string name, method;
  Hello hello;
  std::uint64_t bytes_sent = 0;  // loader and image
  Nanos took = 0;                // from start to hello
};

class Runner {
 public:
  using OnUp = std::function<void(Result<Child>)>;
  using OnLost = std::function<void(ContextId, const Error&)>;
  using StartId = std::uint64_t;

  Runner(Loop& loop, Router& router, ImageStore& images);
  ~Runner();

  // `on_up` exactly once. `on_lost` once, later, if it came up and its link then ended without our asking.
  StartId start(Recipe recipe, OnUp on_up, OnLost on_lost);
  // A start that is not up yet is killed, reaped and answered kCancelled; otherwise no effect.
  void cancel(StartId start);
  // Which phase a start is in, for progress lines; kLink once it is up.
  Phase phase_of(StartId start) const;

  // Ends one child, or all: SHUTDOWN, then SIGTERM, then SIGKILL to the transport within `within`; `done`
  // when it is reaped.
  void shut_down(ContextId child, Nanos within, std::function<void()> done);
  void shut_down_all(Nanos within, std::function<void()> done);
  std::size_t count() const;
};

}  // namespace banyan
