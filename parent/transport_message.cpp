#include "parent/transport_message.h"

#include "core/assert.h"

namespace banyan {

namespace {

constexpr std::uint32_t kFields = 13, kSymptomFields = 4;

// Those that are not in every request, in the order in which they are written.
constexpr Nanos Deadlines::*kDeadlines[] = {
    &Deadlines::resolve, &Deadlines::connect,     &Deadlines::kex,    &Deadlines::auth,
    &Deadlines::shell,   &Deadlines::until_ready, &Deadlines::upload, &Deadlines::hello,
};
constexpr std::uint32_t kDeadlineCount = sizeof kDeadlines / sizeof kDeadlines[0];

// How many values follow; more than that, and there are none, so that something is left and finish() fails.
std::uint32_t take_array(Unpacker& in, std::uint32_t max) {
  const std::uint32_t count = in.array();
  return count <= max ? count : 0;
}

}  // namespace

void pack_transport(Packer& out, const Recipe& recipe) {
  ASSERT(!recipe.source);
  const Recipe::Extras extra = recipe.extra();
  out.array(kFields).array(std::uint32_t(recipe.argv.size()));
  for (const std::string& word : recipe.argv) out.bytes(as_bytes(word));
  out.array(std::uint32_t(2 * recipe.environment.size()));
  for (const auto& [name, value] : recipe.environment) out.bytes(as_bytes(name)).bytes(as_bytes(value));
  out.number(recipe.nonce).bytes(as_bytes(recipe.architecture)).number(std::uint8_t(recipe.kind));
  out.array(std::uint32_t(recipe.symptoms.size()));
  for (const Symptom& symptom : recipe.symptoms) {
    out.array(kSymptomFields).bytes(as_bytes(symptom.text)).number(std::uint8_t(symptom.phase));
    out.number(std::uint8_t(symptom.error_class)).bytes(as_bytes(symptom.remedy));
  }
  out.array(kDeadlineCount);
  for (const auto deadline : kDeadlines) pack_duration(out, recipe.deadlines.*deadline);
  out.bytes(as_bytes(recipe.asides)).bytes(as_bytes(extra.file));
  out.number(extra.answered_by).number(extra.answered_at).number(std::uint8_t(extra.terminal));
  out.boolean(recipe.boot == Recipe::Boot::kNamespaces);
}

bool take_transport(Unpacker& in, Recipe& recipe) {
  if (in.array() != kFields) return false;
  for (std::uint32_t left = take_array(in, kTransportWordsMax); left > 0; --left)
    recipe.argv.push_back(take_string(in));
  for (std::uint32_t left = take_array(in, kTransportWordsMax) / 2; left > 0; --left) {
    std::string name = take_string(in);
    recipe.environment.emplace_back(std::move(name), take_string(in));
  }
  recipe.nonce = in.number();
  recipe.architecture = take_string(in);
  recipe.kind = ImageKind(in.number(kImageKindCount - 1));
  for (std::uint32_t left = take_array(in, kSymptomsMax); left > 0; --left) {
    if (in.array() != kSymptomFields) return false;
    Symptom& symptom = recipe.symptoms.emplace_back();
    symptom.text = take_string(in);
    symptom.phase = Phase(in.number(kPhaseCount - 1));
    symptom.error_class = ErrorClass(in.number(kErrorClassCount - 1));
    symptom.remedy = take_string(in);
  }
  if (in.array() != kDeadlineCount) return false;
  for (const auto deadline : kDeadlines) recipe.deadlines.*deadline = take_duration(in);
  recipe.asides = take_string(in);
  Recipe::Extras& extra = recipe.extra();
  extra.file = take_string(in);
  extra.answered_by = ContextId(in.number(UINT32_MAX));
  extra.answered_at = in.number();
  extra.terminal = Recipe::Terminal(in.number(std::uint64_t(Recipe::Terminal::kInput)));
  recipe.boot = in.boolean() ? Recipe::Boot::kNamespaces : Recipe::Boot::kStage0;
  return !recipe.argv.empty() && extra.file.size() <= kRecipeFileMax;
}

}  // namespace banyan
