// cli/route.h -- the hosts that an ssh connection goes through, each with what ssh would do about it.
//
// Found from the target back to us. A host's settings name its jumps; the last of these is asked about with
// those before it, as ssh does when it starts the ssh that makes the jump; the first of them goes its own
// configured way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transports/ssh_facts.h"
#include "transports/ssh_question.h"

namespace banyan::cli {

struct RouteStep {
  SshTarget asked;     // name: as it stands in the list of jumps
  SshOptions options;  // that ssh was asked with
  std::shared_ptr<const SshSettings> settings = {};
  bool is_jump = false;
  bool is_by_option = false;  // a jump of -J, and not of ssh's configuration
};
using Route = std::vector<RouteStep>;  // from us to the target, which is the last

// Whoever speaks SSH for each; `facts` looks at what lies on this machine.
std::vector<BackEndStep> back_end_steps(SshFacts& facts, const Route& route);

// `on_route` comes once, from the loop, as long as `questions` lives.
void ask_for_route(SshQuestions& questions, const SshTarget& target, const SshOptions& options,
                   Function<void(Result<Route>)> on_route);

}  // namespace banyan::cli
