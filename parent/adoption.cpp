#include "parent/adoption.h"

#include <utility>

namespace banyan {

bool may_have_children(const Router& router) {
  return router.config().ancestors.size() < kAncestorsMax;
}

void adopt(Router& router, RouteMonitor& routes, std::unique_ptr<Link>&& link, IdRange ids,
           Identity& identity, bool has_our_authority, Router::OnLinkDown&& on_down) {
  identity.id = ids.first;
  identity.first_id = ids.first + 1;
  identity.id_count = ids.count - 1;
  identity.ancestors = router.config().ancestors;
  identity.ancestors.insert(identity.ancestors.begin(), router.id());
  identity.sideways = router.config().sideways;
  identity.message_max = router.config().inbox.message_max;
  link->send_control(handshake_header(kIdentity), identity.encode());
  router.add_child(std::move(link), identity.id, std::move(on_down));
  if (has_our_authority) router.lend_authority(identity.id);
  if (ids.count > 1) router.grant(identity.id, {identity.first_id, identity.id_count});
  routes.announce(identity.id, identity.name);
}

}  // namespace banyan
