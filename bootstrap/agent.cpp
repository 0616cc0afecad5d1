// bootstrap/agent.cpp -- the agent that is shipped to leaves: it starts children on its own machine alone.
#include "bootstrap/agent.h"

#include "parent/own_image.h"

namespace {

struct Images : banyan::OwnImage {
  static constexpr const banyan::Runner::Transports* kTransports = nullptr;
  void begin(banyan::Router&) {}
};

}  // namespace

int main(int argc, char** argv) {
  banyan::run_agent<Images>(argc, argv);
}
