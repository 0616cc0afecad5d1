// cli/help.h -- what --help and --version print.
#pragma once

#include <string>
#include <string_view>

namespace banyan::cli {

std::string version_text();
// Of one verb; of the program when `verb` is empty. Throws UsageError for a verb that is not ours.
std::string help_text(std::string_view verb);
// What to say of such a word.
std::string not_a_verb(std::string_view word);

}  // namespace banyan::cli
