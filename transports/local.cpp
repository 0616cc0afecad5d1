#include "transports/local.h"

#include <utility>

namespace banyan {

Recipe local(std::string name, Nanos connect_timeout) {
  Recipe recipe;
  recipe.name = std::move(name);
  recipe.method = "local";
  recipe.boot = Recipe::Boot::kImage;
  recipe.deadlines.total = connect_timeout;
  return recipe;
}

}  // namespace banyan
