// bootstrap/hop.cpp -- the agent that is shipped to hops: it starts children through transports too, with
// images that it asks its parent for, and hands on.
#include <optional>

#include "bootstrap/agent.h"
#include "parent/image_service.h"

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
  banyan::run_agent<Images>(argc, argv);
}
