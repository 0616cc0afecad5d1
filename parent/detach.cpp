#include "parent/detach.h"

#include <utility>

#include "core/msgpack.h"
#include "core/text.h"
#include "parent/command.h"

namespace banyan {

namespace {

constexpr Nanos kDrainMax = kSecond;  // the parent takes us for one that stays after two (kPartingMax)
constexpr Nanos kDrainPeriod = 5 * kMillisecond;

}  // namespace

Detach::~Detach() {
  *alive_ = false;
  router_.loop().cancel(timer_);
}

void Detach::begin(OnDone done) {
  ASSERT(!done_);
  done_ = std::move(done);
  if (router_.parent_link() == nullptr)
    return finish(Error{ErrorClass::kRefused, Phase::kLink, "there is no parent to detach from", {}});
  if (!router_.for_each_stranger([](ContextId, ContextId) {}))
    return finish(
        Error{ErrorClass::kResource, Phase::kLink,
              cat("contexts beneath this one have dealt with more than ", router_.config().contacts_max,
                  " others, and could not be told of the end of each"),
              "detach before its children talk to so many, or without children"});
  ask(kAllocateId, Packer().array(1).number(kAskedMax).buffer(), &Detach::on_ids);
}

void Detach::ask(Handle what, Bytes payload, void (Detach::*then)(const Reply&)) {
  if (router_.parent_link() == nullptr)
    return finish(Error{ErrorClass::kLost, Phase::kLink, "the parent ended before it let us go", {}});
  router_.control_call(router_.config().ancestors.front(), what, payload,
                       [this, alive = alive_, then](const Reply& reply) {
                         if (*alive) (this->*then)(reply);
                       });
}

// Without them it leaves with what it has.
void Detach::on_ids(const Reply& reply) {
  if (reply.dead == nullptr) {
    Unpacker in(reply.payload);
    const bool well_formed = in.array() == 2;
    IdRange ids;
    ids.first = ContextId(in.number(UINT32_MAX));
    ids.count = std::uint32_t(in.number(UINT32_MAX));
    if (well_formed && in.finish() && ids.is_sound() && !router_.owns_any(ids)) ids_.receive(ids);
  }
  ask(kDetaching, {}, &Detach::on_answer);
}

void Detach::on_answer(const Reply& reply) {
  if (reply.dead != nullptr) return finish(error_of(*reply.dead, Phase::kLink, false));
  router_.disregard_parent();
  deadline_ = router_.loop().now() + kDrainMax;
  drain();
}

// The queue has no word for "empty"; it is looked at again until it is.
void Detach::drain() {
  const Link* up = router_.parent_link();
  if (up != nullptr && router_.owes_above() && router_.loop().now() < deadline_) {
    timer_ = router_.loop().after(kDrainPeriod, [this] { drain(); });
    return;
  }
  routes_.leave_tree();
  finish(Done{});
}

// From the loop, and behind what the end of the link posts.
void Detach::finish(const Result<Done>& result) {
  router_.loop().post([this, alive = alive_, result] {
    if (*alive) std::exchange(done_, nullptr)(result);
  });
}

}  // namespace banyan
