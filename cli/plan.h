// cli/plan.h -- the verb `plan`: how each target would be reached, and why so. Connects to nothing.
#pragma once

#include "cli/options.h"

namespace banyan::cli {

// Writes the plans in the order of the targets; returns the exit code.
int run_plan(const Options& options);

}  // namespace banyan::cli
