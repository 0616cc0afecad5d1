#include "parent/api/stage0.h"

#include <algorithm>

#include "core/assert.h"
#include "core/text.h"
#include "parent/image.h"
#include "stage0_text.h"

namespace banyan {

namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace

std::string stage0_command(std::uint64_t nonce, std::string_view expected_architecture) {
  ASSERT(std::all_of(expected_architecture.begin(), expected_architecture.end(), is_word));
  std::string text = BANYAN_STAGE0_TEXT;
  replace_all(text, "@nonce@", hex64(nonce));
  replace_all(text, "@bytes@", cat(loader_bytes()));
  replace_all(text, "@tail@", cat(loader_bytes() - kLoaderTail.size()));
  replace_all(text, "@expected@", expected_architecture.empty() ? "*" : cat("dd,", expected_architecture));
  return cat("exec sh -c '", text, "'");
}

}  // namespace banyan
