// cli/target_names.h -- the names that a target expression stands for: lists and ranges, written out.
//
// Pure. What a name means is for cli/targets.h to say.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace banyan::cli {

// Of a component that is a host, whatever it is called. Known here because an address may follow.
constexpr std::string_view kSshMethod = "ssh:";

struct TargetNames {
  // One of the list as written, and how many names there are up to its end.
  struct Item {
    std::string_view text;
    std::size_t end = 0;
  };
  std::vector<std::string> names;
  std::vector<Item> items;
  bool literal = false;  // one name, written out
};

// Throws UsageError. The items are views of `expression`.
TargetNames expand_targets(std::string_view expression);

// Throws UsageError about `name`.
[[noreturn]] void refuse_target(std::string_view name, std::string_view why);

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace banyan::cli
