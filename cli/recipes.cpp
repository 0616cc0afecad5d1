#include "cli/recipes.h"

#include <utility>

#include "core/assert.h"
#include "transports/local.h"
#include "transports/sudo.h"

namespace banyan::cli {

Recipe recipe_beneath(const Target& target, std::uint64_t nonce, std::string_view architecture, Nanos left) {
  ASSERT(target.hop && target.method != Method::kSsh);
  const std::string name = last_name(target);
  if (target.method == Method::kLocal) return local(name, left);
  // It is what the hop says of itself.
  const std::string_view expected = is_architecture(architecture) ? architecture : std::string_view();
  return sudo({name, target.user, {}}, nonce, expected, left);
}

Error error_of_start(const Target& target, Error error) {
  return target.method == Method::kSudo ? error_of_sudo(std::move(error), target.user) : error;
}

}  // namespace banyan::cli
