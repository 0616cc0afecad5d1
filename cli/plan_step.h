// cli/plan_step.h -- one step of a route as a list of choices, each with where it comes from.
//
// Pure: what ssh said and what lies on this machine come in as values.
#pragma once

#include <string>

#include "cli/events.h"
#include "cli/options.h"
#include "transports/back_end.h"
#include "transports/container.h"

namespace banyan::cli {

// `hop`: the path of the context it lies beneath; empty: the root.
TargetPlan::Step local_step(const std::string& name, std::string_view hop = {});
// The same as `user`. `because`: who says so; empty: the target.
TargetPlan::Step become_step(const std::string& name, Method method, const std::string& user,
                             std::string_view hop = {}, std::string_view because = {});

// Into a container, by the first of its ways that is open.
TargetPlan::Step container_step(const ContainerTarget& target, std::string_view hop = {});

struct SshStep {
  const SshTarget& target;      // as it was asked for
  const SshOptions& options;    // that ssh was asked with
  const SshSettings& settings;  // what it answered
  const SshSettings& defaults;  // what it answers without any configuration
  const BackEndFacts& facts;
  const BackEndChoice choice;
  bool is_jump = false;       // a hop, whose settings come from its name alone
  bool is_first = true;       // nothing lies between it and us
  bool is_by_option = false;  // a hop of -J
  bool accepts_new = false;   // --accept-new, which is for hops too
  // Of one that a hop's own ssh reaches, the hop's path; else empty. The choice is not asked for then.
  std::string hop = {};
  bool trusts_hop = false;  // --trust-hop
  bool may_tunnel = false;  // should the hop have no ssh
};
TargetPlan::Step ssh_step(const SshStep& step);

}  // namespace banyan::cli
