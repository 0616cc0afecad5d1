#include "parent/route_monitor.h"

#include <utility>

#include "core/identity.h"
#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::size_t kIdsPerFrame = 512;  // of DEL_ROUTE: five bytes each fit a control frame

Error bad(std::string_view text) {
  return Error{ErrorClass::kProtocol, Phase::kLink, text, {}};
}

}  // namespace

RouteMonitor::RouteMonitor(Router& router, IdSource& source) : router_(router), ids_(source) {
  router_.on_route_control = [this](Link& link, ContextId neighbour, const Header& header, Bytes payload) {
    on_control(link, neighbour, header, payload);
  };
  router_.on_routes_lost = [this](const std::vector<ContextId>& ids) { on_lost(ids); };
}

RouteMonitor::~RouteMonitor() {
  router_.on_route_control = nullptr;
  router_.on_routes_lost = nullptr;
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
  for (const auto& [child, theirs] : audience) tell(child, theirs);
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
  if (!router_.was_granted(child, id)) return link.fail(bad("a child announces an id it was not granted"));
  if (router_.way_to(id)) return link.fail(bad("a child announces an id that is there already"));
  if (router_.way_to(parent_of_it) != child)
    return link.fail(bad("a child announces a context beneath one that is not its own"));
  if (!router_.add_route(id, parent_of_it, child))
    return link.fail(bad("a child announces a context deeper than a tree is"));
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
  if (!ids.empty()) remove(ids, !from_parent);
}

// Their routes are gone from the router already.
void RouteMonitor::on_lost(const std::vector<ContextId>& ids) {
  const Audience audience = audience_of(ids);
  spread(ids, true, audience);
}

void RouteMonitor::remove(const std::vector<ContextId>& ids, bool are_ours) {
  const Audience audience = audience_of(ids);
  router_.remove_routes(ids, cat("context ", ids.front(), " is gone"));
  spread(ids, are_ours, audience);
}

// Beneath which children somebody has dealt with whom. Never the link the news came by.
RouteMonitor::Audience RouteMonitor::audience_of(const std::vector<ContextId>& ids) const {
  Audience audience;
  for (const ContextId id : ids)
    for (const ContextId child : router_.contacts_of(id)) audience[child].push_back(id);
  return audience;
}

void RouteMonitor::spread(const std::vector<ContextId>& ids, bool are_ours, const Audience& audience) {
  if (is_root()) {
    for (const ContextId id : ids)
      if (places_.erase(id) && on_change) on_change(id, false);
  } else if (are_ours) {
    tell(parent(), ids);
  }
  for (const auto& [child, theirs] : audience) tell(child, theirs);
}

// At once, but for those of whose frames some still wait for that link.
void RouteMonitor::tell(ContextId neighbour, const std::vector<ContextId>& ids) {
  std::vector<ContextId> now;
  for (const ContextId id : ids) {
    const bool waits =
        router_.after_frames_of(id, neighbour, [this, neighbour, id] { send_end(neighbour, {id}); });
    if (!waits) now.push_back(id);
    if (now.size() == kIdsPerFrame) send_end(neighbour, std::exchange(now, {}));
  }
  if (!now.empty()) send_end(neighbour, now);
}

void RouteMonitor::send_end(ContextId neighbour, const std::vector<ContextId>& ids) {
  Packer out;
  out.array(std::uint32_t(ids.size()));
  for (const ContextId id : ids) out.number(id);
  router_.send_control(neighbour, kDelRoute, out.take());
}

}  // namespace banyan
