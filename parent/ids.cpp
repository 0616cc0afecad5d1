#include "parent/ids.h"

#include <algorithm>

#include "core/assert.h"
#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::uint32_t kLeastGrant = 2;      // fewer would be used up before more can come
constexpr std::uint32_t kSiblingsShare = 32;  // of the quota: what one child leaves to its siblings
constexpr std::size_t kLevelsMax = 24;        // on which it gets less, so that paths may be long

}  // namespace

IdSource::IdSource(Router& router, IdRange ids, std::uint32_t ids_per_link)
    : router_(router), ids_per_link_(ids_per_link), left_(ids), block_(ids.count) {
  if (ids.count > 0) router_.own(ids);
}

IdSource::~IdSource() {
  *alive_ = false;
}

void IdSource::take(std::uint32_t count, OnIds on_ids) {
  ASSERT(count > 0 && count <= kAskedMax);
  waiting_.push_back(Request{count, 0, {}, std::move(on_ids)});
  serve_waiting();
}

void IdSource::take_for_child(OnIds on_ids) {
  const std::uint32_t half = left_.count / 2;
  const bool is_enough = waiting_.empty() && half > kLeastGrant;
  take(is_enough ? std::min(1 + kFirstGrant, half) : 1 + kFirstGrant, std::move(on_ids));
}

void IdSource::serve(Link& link, ContextId child, const Header& header, Bytes payload) {
  Unpacker in(payload);
  const bool well_formed = in.array() == 1;
  const std::uint64_t count = in.number(UINT32_MAX);
  if (!well_formed || !in.finish())
    return link.fail(Error{ErrorClass::kProtocol, Phase::kLink, "a request for ids that is none", {}});
  // What is too little for it is given to nobody else (on_granted).
  const std::uint64_t wasted = count > left_.count ? left_.count : 0;
  if (count == 0 || count > kAskedMax || router_.granted(child) + count + wasted > quota())
    return router_.reply_dead(header, DeadReason::kQuota, cat(router_.granted(child), " ids are granted"));
  // One who keeps the rules asks for one range at a time, for all who wait at his place.
  const bool asks_twice = std::any_of(waiting_.begin(), waiting_.end(),
                                      [&](const Request& request) { return request.child == child; });
  if (asks_twice || waiting_.size() >= kIdRequestsMax)
    return router_.reply_dead(header, DeadReason::kBusy, "a request for ids waits already");
  waiting_.push_back(Request{std::uint32_t(count), child, header, nullptr});
  serve_waiting();
}

// Less than our own parent gives us: else one child could take all of it.
std::uint32_t IdSource::quota() const {
  const std::size_t level = std::min<std::size_t>(router_.config().ancestors.size(), kLevelsMax);
  return ids_per_link_ - ids_per_link_ / kSiblingsShare * std::uint32_t(level);
}

std::optional<IdRange> IdSource::cut(std::uint32_t count) {
  if (count > left_.count) return std::nullopt;
  const IdRange ids{left_.first, count};
  left_.first += count;
  left_.count -= count;
  return ids;
}

void IdSource::answer(Request& request, const IdRange* ids, const Dead& dead) {
  if (request.child == 0) return request.on_ids(ids, dead);
  // The child may be gone. What was cut for it is then nobody's, for ever.
  if (!router_.way_to(request.child)) return;
  if (ids == nullptr) return router_.reply_dead(request.header, dead.reason, dead.text);
  router_.grant(request.child, *ids);
  router_.send_control(request.child, request.header.reply_to,
                       Packer().array(2).number(ids->first).number(ids->count).buffer());
}

void IdSource::serve_waiting() {
  while (!waiting_.empty()) {
    const std::optional<IdRange> ids = cut(waiting_.front().count);
    if (!ids) break;
    Request request = std::move(waiting_.front());
    waiting_.pop_front();
    answer(request, &*ids, {});
  }
  prefetch();
}

void IdSource::prefetch() {
  if (asking_ != 0) return;
  if (!waiting_.empty()) {
    // In a row for the first one; what is left over then is less than it wants, and is not joined to it.
    std::uint64_t wanted = 0;
    for (const Request& request : waiting_) wanted += request.count;
    const std::uint64_t ample =
        std::clamp<std::uint64_t>(std::max<std::uint64_t>(wanted, 2ull * block_), kAskedMin, kAskedMax);
    return ask(is_refused_ ? waiting_.front().count : std::uint32_t(ample));
  }
  if (is_root() || is_refused_ || left_.count >= block_ / 2) return;
  ask(std::uint32_t(std::clamp<std::uint64_t>(2ull * block_, kAskedMin, kAskedMax)));
}

void IdSource::ask(std::uint32_t count) {
  if (is_root() || router_.parent_link() == nullptr) {
    // Nobody to ask.
    const Dead dead{DeadReason::kQuota, "there are no more ids", router_.id()};
    while (!waiting_.empty()) {
      Request request = std::move(waiting_.front());
      waiting_.pop_front();
      answer(request, nullptr, dead);
    }
    return;
  }
  const ContextId parent = router_.config().ancestors.front();
  asking_ = router_.control_call(parent, kAllocateId, Packer().array(1).number(count).take(),
                                 [this, alive = alive_, count](const Reply& reply) {
                                   if (*alive) on_granted(count, reply);
                                 });
}

void IdSource::on_granted(std::uint32_t asked, const Reply& reply) {
  asking_ = 0;
  if (reply.dead != nullptr) {
    const bool was_least = !waiting_.empty() && asked <= waiting_.front().count;
    const bool may_ask_for_less = reply.dead->reason == DeadReason::kQuota && !was_least;
    is_refused_ = true;
    if (waiting_.empty()) return;
    if (!may_ask_for_less) {
      Request request = std::move(waiting_.front());
      waiting_.pop_front();
      answer(request, nullptr, *reply.dead);
    }
    return serve_waiting();
  }
  Unpacker in(reply.payload);
  const bool well_formed = in.array() == 2;
  IdRange ids;
  ids.first = ContextId(in.number(UINT32_MAX));
  ids.count = std::uint32_t(in.number(UINT32_MAX));
  if (!well_formed || !in.finish() || !ids.is_sound() || router_.owns_any(ids)) {
    if (Link* parent = router_.parent_link())
      parent->fail(Error{ErrorClass::kProtocol, Phase::kLink, "a grant of ids that is none", {}});
    return;
  }
  receive(ids);
}

void IdSource::receive(IdRange ids) {
  is_refused_ = false;
  router_.own(ids);
  block_ = ids.count;
  if (left_.count > 0 && left_.first + left_.count == ids.first) {
    left_.count += ids.count;
  } else if (left_.count > 0 && ids.first + ids.count == left_.first) {
    left_ = {ids.first, left_.count + ids.count};
  } else {
    // The few that were left are lost, at the cost of whoever wanted more.
    if (left_.count > 0 && !waiting_.empty()) router_.grant(waiting_.front().child, left_);
    left_ = ids;
  }
  serve_waiting();
}

}  // namespace banyan
