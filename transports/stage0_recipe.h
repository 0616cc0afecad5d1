// transports/stage0_recipe.h -- what the recipes of all transports have in common: stage 0 at the far end,
// and a table of what they complain about.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "parent/recipe.h"

namespace banyan {

// Without what starts the transport, and its symptoms. `connect_timeout` bounds everything up to the hello;
// 0: the usual deadlines.
Recipe stage0_recipe(std::string_view name, std::string_view method, std::uint64_t nonce,
                     std::string_view architecture, Nanos connect_timeout);

// The same of a transport that connects to nothing: it makes us somebody else on the same machine, and has
// the words of its table whatever the locale is.
Recipe become_recipe(std::string_view name, std::string_view method, std::uint64_t nonce,
                     std::string_view architecture, Nanos connect_timeout);

struct Complaint {
  std::string_view text;
  ErrorClass error_class;
  std::string_view remedy;
};
// Of such a transport: in phase become.
std::vector<Symptom> become_symptoms(std::span<const Complaint> complaints);

}  // namespace banyan
