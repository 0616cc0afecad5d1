// cli/draw.h -- the tree of contexts, drawn for people.
#pragma once

#include <string>
#include <vector>

#include "cli/events.h"

namespace banyan::cli {

// The root (the one without a parent), and what lies beneath it, in the order given; one line each, columns
// aligned. Contexts whose parent is not among them are left out. Names are made printable.
std::string draw_tree(const std::vector<ContextFacts>& contexts);

}  // namespace banyan::cli
