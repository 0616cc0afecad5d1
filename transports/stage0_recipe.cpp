#include "transports/stage0_recipe.h"

namespace banyan {

Recipe stage0_recipe(std::string_view name, std::string_view method, std::uint64_t nonce,
                     std::string_view architecture, Nanos connect_timeout) {
  Recipe recipe;
  recipe.name = name;
  recipe.method = method;
  recipe.boot = Recipe::Boot::kStage0;
  recipe.nonce = nonce;
  recipe.architecture = architecture;
  recipe.deadlines.total = connect_timeout;
  return recipe;
}

Recipe become_recipe(std::string_view name, std::string_view method, std::uint64_t nonce,
                     std::string_view architecture, Nanos connect_timeout) {
  Recipe recipe = stage0_recipe(name, method, nonce, architecture, connect_timeout);
  recipe.environment.emplace_back("LC_ALL", "C");
  recipe.deadlines.until_ready = recipe.deadlines.auth + recipe.deadlines.shell;
  return recipe;
}

std::vector<Symptom> become_symptoms(std::span<const Complaint> complaints) {
  std::vector<Symptom> symptoms;
  for (const Complaint& complaint : complaints)
    symptoms.push_back(
        {std::string(complaint.text), Phase::kBecome, complaint.error_class, std::string(complaint.remedy)});
  return symptoms;
}

}  // namespace banyan
