// parent/ids.h -- the ids a context may give away: from its own range while that lasts, then from its
// parent's.
//
// Each context gets a small range with its identity and asks its parent for more (ALLOCATE_ID) before it runs
// out; the parent serves it from its own range, or asks on, up to the root. Whoever passes a grant down has
// recorded it on that link first, so it knows what may be announced from beneath. No id is given twice, or
// given back. Nothing here blocks: who must wait is called when the ids have come.
//
// Thread: the loop's. Lifetime: the router outlives it.
#pragma once

#include <cstdint>
#include <list>
#include <optional>

#include "core/router.h"

namespace banyan {

constexpr IdRange kAllIds{1, UINT32_MAX - 1};  // the root's; 0 is the root itself
constexpr std::uint32_t kFirstGrant = 16;      // ids a new context gets with its identity, at most
constexpr std::uint32_t kAskedMin = 64;        // fewer are not asked for: a request costs a round trip
constexpr std::uint32_t kAskedMax = 8'192;  // nor more: a quota should not go to somebody who was merely busy
// The quota: what the root grants beneath one link. A thirty-second less at each of the next levels, so that
// what one child takes leaves something for its siblings.
constexpr std::uint32_t kIdsPerLink = 65'536;
constexpr std::size_t kIdRequestsMax = 16'384;  // that wait here, one of each link, and our own

class IdSource {
 public:
  // The ids; nullptr with what came instead: no route, quota...
  using OnIds = Function<void(const IdRange* ids, const Dead& dead)>;

  // The root's `ids` are kAllIds; anybody else's those of its identity, and its router has, or will have, a
  // parent.
  IdSource(Router& router, IdRange ids, std::uint32_t ids_per_link = kIdsPerLink);
  IdSource(const IdSource&) = delete;
  IdSource& operator=(const IdSource&) = delete;
  ~IdSource();

  // `count` ids in a row, for ourselves: once, perhaps before this returns. REQUIRES: 0 < count <= kAskedMax.
  void take(std::uint32_t count, OnIds on_ids);
  // The same for a new child: an id, and up to kFirstGrant more for children of its own. Half of what is here
  // rather than a round trip to our parent.
  void take_for_child(OnIds on_ids);
  // ALLOCATE_ID from a child.
  void serve(Link& link, ContextId child, const Header& header, Bytes payload);

  // More of our own, granted by the parent.
  void receive(IdRange ids);

  std::uint64_t left() const { return left_.count; }
  std::size_t waiting() const { return waiting_.size(); }

 private:
  struct Request {
    std::uint32_t count = 0;
    ContextId child = 0;  // 0: our own
    Header header;        // the child's
    OnIds on_ids;         // ours
  };
  std::uint32_t quota() const;
  std::optional<IdRange> cut(std::uint32_t count);
  void answer(Request& request, const IdRange* ids, const Dead& dead);
  void serve_waiting();
  void prefetch();
  void ask(std::uint32_t count);
  void on_granted(std::uint32_t asked, const Reply& reply);
  bool is_root() const { return router_.config().ancestors.empty(); }

  Router& router_;
  const std::uint32_t ids_per_link_;
  IdRange left_;                // what is not given yet
  std::uint32_t block_;         // size of the last range: at half of it more is asked for
  std::list<Request> waiting_;  // in order
  Router::CallId asking_ = 0;   // 0: nothing is asked of the parent just now
  bool is_refused_ = false;     // the last time: then only what somebody waits for is asked for
  Alive alive_;
};

}  // namespace banyan
