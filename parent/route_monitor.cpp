#include "parent/route_monitor.h"

#include <algorithm>
#include <utility>

#include "core/identity.h"
#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::size_t kIdsPerFrame = 512;  // of DEL_ROUTE: five bytes each fit a control frame
// How long what somebody said last may hold up the news of his end: 200 ms.
constexpr Nanos kLookEvery = 20 * kMillisecond;
constexpr int kLooks = 10;

Error bad(std::string_view text) {
  return Error{ErrorClass::kProtocol, Phase::kLink, text, {}};
}

}  // namespace

RouteMonitor::RouteMonitor(Router& router, IdSource& source) : router_(router), ids_(source) {
  router_.on_route_control = [this](Link& link, ContextId neighbour, const Header& header, Bytes payload) {
    on_control(link, neighbour, header, payload);
  };
  router_.on_ended = [this](const std::vector<ContextId>& ids) { on_ended(ids); };
}

RouteMonitor::~RouteMonitor() {
  *alive_ = false;
  router_.on_route_control = nullptr;
  router_.on_ended = nullptr;
}

void RouteMonitor::announce(ContextId child, std::string_view name) {
  add(nullptr, child, router_.id(), name);
}

const RouteMonitor::Place* RouteMonitor::find(ContextId id) const {
  const auto found = places_.find(id);
  return found == places_.end() ? nullptr : &found->second;
}

void RouteMonitor::for_each(const Function<void(ContextId, const Place&)>& visit) const {
  for (const auto& [id, place] : places_) visit(id, place);
}

// Known here, and told to the parent. What a child says of those beneath it is at the risk of its own link
// (`origin`), not of ours to the parent.
void RouteMonitor::add(Link* origin, ContextId id, ContextId parent_of_it, std::string_view name) {
  if (is_root()) {
    places_[id] = Place{parent_of_it, std::string(name.substr(0, kNameMax))};
    if (on_change) on_change(id, true);
    return;
  }
  const Buffer payload =
      Packer().array(3).number(id).number(parent_of_it).text(name.substr(0, kNameMax)).take();
  if (origin != nullptr) return router_.pass_up(*origin, kAddRoute, payload);
  router_.send_control(parent(), kAddRoute, payload);
}

void RouteMonitor::on_control(Link& link, ContextId neighbour, const Header& header, Bytes payload) {
  const bool from_parent = &link == router_.parent_link();
  if (header.handle == kDelRoute) return on_del_route(link, neighbour, payload);
  if (from_parent) return link.fail(bad("the parent asks its child for ids or routes"));
  if (header.handle == kDetaching) {
    router_.let_go(neighbour);
    return router_.send_control(neighbour, header.reply_to, {});
  }
  if (header.handle == kAllocateId) return ids_.serve(link, neighbour, header, payload);
  on_add_route(link, neighbour, payload);
}

void RouteMonitor::leave_tree() {
  std::vector<ContextId> above = router_.config().ancestors;
  Audience audience = audience_of(above);
  router_.for_each_stranger(
      [&](ContextId child, ContextId stranger) { audience[child].push_back(stranger); });
  router_.leave_parent();
  tell(std::move(audience));
  router_.for_each_route([this](ContextId id, ContextId its_parent) { places_[id] = Place{its_parent, {}}; });
}

void RouteMonitor::on_add_route(Link& link, ContextId child, Bytes payload) {
  Unpacker in(payload);
  const bool well_formed = in.array() == 3;
  const auto id = ContextId(in.number(UINT32_MAX));
  const auto parent_of_it = ContextId(in.number(UINT32_MAX));
  const std::string_view name = in.text();
  if (!well_formed || !in.finish() || name.size() > kNameMax)
    return link.fail(bad("an announcement of a route that is none"));
  if (const char* wrong = router_.add_route(id, parent_of_it, child)) return link.fail(bad(wrong));
  add(&link, id, parent_of_it, name);
}

// From a child: what was behind it. From the parent: somebody elsewhere, with whom one of us has dealt.
void RouteMonitor::on_del_route(Link& link, ContextId neighbour, Bytes payload) {
  Unpacker in(payload);
  const bool from_parent = &link == router_.parent_link();
  std::vector<ContextId> ids;
  const std::size_t count = in.array();
  for (std::size_t i = 0; i < count && i < kIdsPerFrame; ++i) {
    const auto id = ContextId(in.number(UINT32_MAX));
    const bool is_theirs = from_parent
                               ? id != router_.id() && !router_.way_to(id) && !router_.owns_any({id, 1})
                               : id != neighbour && router_.way_to(id) == neighbour;
    if (is_theirs) ids.push_back(id);
  }
  if (count > kIdsPerFrame || !in.finish()) return link.fail(bad("the end of a route that is none"));
  if (!ids.empty()) router_.remove_routes(ids);
}

// Who is to be told of whom: the parent, of those beneath us; children beneath which somebody has dealt with
// them. Never the link the news came by.
RouteMonitor::Audience RouteMonitor::audience_of(const std::vector<ContextId>& ids) const {
  Audience audience;
  for (const ContextId id : ids) {
    if (!is_root() && router_.owns_any({id, 1})) audience[parent()].push_back(id);
    for (const ContextId child : router_.contacts_of(id)) audience[child].push_back(id);
  }
  return audience;
}

void RouteMonitor::on_ended(const std::vector<ContextId>& ids) {
  if (is_root()) {
    for (const ContextId id : ids)
      if (places_.erase(id) && on_change) on_change(id, false);
  }
  tell(audience_of(ids));
}

void RouteMonitor::tell(Audience audience) {
  for (auto& [neighbour, theirs] : audience) tell(neighbour, std::move(theirs), kLooks);
}

// What somebody said last goes before the news of his end, and cannot hold it up: while frames of any of them
// wait for that link, the news of all waits for another look; the last one throws away what waits still.
void RouteMonitor::tell(ContextId neighbour, std::vector<ContextId> ids, int looks) {
  Link* link = router_.link_to(neighbour);
  if (link == nullptr) return;
  if (link->queued_bytes() > 0 && router_.have_frames(ids, *link, looks == 0)) {
    router_.loop().after(kLookEvery,
                         [this, alive = alive_, neighbour, ids = std::move(ids), looks]() mutable {
                           if (*alive) tell(neighbour, std::move(ids), looks - 1);
                         });
    return;
  }
  for (std::size_t at = 0; at < ids.size();) {
    const std::size_t end = std::min(ids.size(), at + kIdsPerFrame);
    Packer out;
    out.array(std::uint32_t(end - at));
    for (; at < end; ++at) out.number(ids[at]);
    router_.send_control(neighbour, kDelRoute, out.take());
  }
}

}  // namespace banyan
