#include "cli/recipes.h"

#include <utility>

#include "core/assert.h"
#include "transports/local.h"
#include "transports/su.h"

namespace banyan::cli {

Recipe recipe_beneath(const Target& target, std::uint64_t nonce, std::string_view architecture, Nanos left,
                      std::string_view not_entered) {
  ASSERT(target.hop && target.method != Method::kSsh);
  const std::string name = last_name(target);
  if (target.method == Method::kLocal) return local(name, left);
  if (target.method == Method::kContainer) return container_recipe(target, nonce, left, not_entered);
  // It is what the hop says of itself.
  const std::string_view expected = is_architecture(architecture) ? architecture : std::string_view();
  return recipe_to_become(target, {name, target.user, {}}, nonce, expected, left);
}

Recipe recipe_to_become(const Target& target, const SudoTarget& as, std::uint64_t nonce,
                        std::string_view architecture, Nanos left) {
  if (target.method == Method::kSu) return su(as, nonce, architecture, left);
  if (target.method == Method::kDoas) return doas(as, nonce, architecture, left);
  return sudo(as, nonce, architecture, left);
}

ContainerTarget container_of(const Target& target) {
  return {last_name(target), target.engine, target.container, target.user};
}

Recipe container_recipe(const Target& target, std::uint64_t nonce, Nanos left, std::string_view not_entered) {
  const ContainerTarget container = container_of(target);
  const bool may_enter = not_entered.empty() && !lookup_words(container).empty();
  return may_enter ? enter_container(container, nonce, left) : exec_in_container(container, nonce, left);
}

bool has_second_try(const Target& target) {
  if (target.method != Method::kContainer) return true;
  return !exec_words(container_of(target), {}).empty();
}

Error error_of_start(const Target& target, Error error, std::string_view not_entered) {
  if (target.method == Method::kContainer)
    return error_of_container(std::move(error), container_of(target), not_entered);
  if (!is_become(target)) return error;
  if (target.method == Method::kSudo) return error_of_sudo(std::move(error), target.user);
  return error_of_su(std::move(error), method_name(target.method), target.user);
}

}  // namespace banyan::cli
