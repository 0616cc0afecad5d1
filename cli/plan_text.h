// cli/plan_text.h -- a plan as people read it: one block a target, one line a choice, with its reason.
//
// Pure. What comes from elsewhere is escaped here.
#pragma once

#include <string>

#include "cli/events.h"

namespace banyan::cli {

std::string plan_text(const TargetPlan& plan);

}  // namespace banyan::cli
