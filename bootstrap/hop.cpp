// bootstrap/hop.cpp -- the agent that is shipped to hops: it starts children through transports too, with
// images that it asks its parent for, and hands on; and in the namespaces of other processes, out of its own
// image. It is also what those transports run to ask a person.
#include <optional>

#include "bootstrap/agent.h"
#include "parent/entry.h"
#include "parent/image_service.h"
#include "parent/visitor.h"

namespace {

struct Images {
  static constexpr const banyan::Runner::Transports* kTransports = &banyan::Runner::kTransports;
  void begin(banyan::Router& router) {
    store.ask(router);
    service.emplace(router, store);
  }
  operator banyan::ImageStore&() { return store; }

  // Never destroyed, as all of the agent; nor would they be before the router.
  banyan::RemoteImages store;
  std::optional<banyan::ImageService> service;
};

}  // namespace

int main(int argc, char** argv) {
  // Started by a sudo that a hop has started, which is this very program.
  if (const char* where = banyan::visits(argc, argv)) return banyan::visit(where, argv[1]);
  // Whoever started us wants a context in there, and becomes it.
  if (argc > 2) banyan::enter_namespaces(argv[1], argv + 2);
  banyan::run_agent<Images>(argc, argv);
}
