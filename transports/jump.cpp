#include "transports/jump.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace banyan {
namespace {

constexpr int kNotFound = 127;

}  // namespace

bool can_stand_for_ssh(std::string_view program) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@";
  return program.starts_with('/') && program.find_first_not_of(kPlain) == program.npos;
}

bool is_call_of_ssh(int count, const char* const* words) {
  if (count > 1 && std::string_view(words[1]) == "-e") return true;  // ours
  return std::any_of(words, words + count, [](std::string_view word) { return word == "-W"; });
}

int become_ssh(int count, char** words, std::string_view heeds) {
  const auto is_told = [&](std::string_view word) {
    return std::any_of(words, words + count, [&](std::string_view one) { return one == word; });
  };
  std::vector<std::string> more;
  while (!heeds.empty()) {
    const std::size_t end = std::min(heeds.find(' '), heeds.size());
    // Through a further one the time would count in which a person answers that one.
    const bool is_first_only = heeds.starts_with("ConnectTimeout=");
    if (end > 0 && !(is_first_only && is_told("-J")))
      more.emplace_back("-o" + std::string(heeds.substr(0, end)));
    heeds.remove_prefix(std::min(end + 1, heeds.size()));
  }
  std::vector<char*> argv = {words[0]};
  // What ours was told is said already, and of two the first counts.
  const bool is_first = count > 1 && std::string_view(words[1]) == "-e";
  if (!is_first)
    for (std::string& word : more) argv.push_back(word.data());
  argv.insert(argv.end(), words + 1, words + count);
  argv.push_back(nullptr);
  ::execvp("ssh", argv.data());
  std::fprintf(stderr, "banyan: starting ssh: %s\n", std::strerror(errno));
  return kNotFound;
}

std::string way_of_jump(std::string_view command_line) {
  std::string way;
  bool leads_on = false, is_name = true;
  while (!command_line.empty()) {
    const std::size_t end = std::min(command_line.find('\0'), command_line.size());
    const std::string_view word = command_line.substr(0, end);
    command_line.remove_prefix(std::min(end + 1, command_line.size()));
    if (std::exchange(is_name, false)) continue;
    if (word == "-W" && !leads_on) {
      leads_on = true;
      command_line.remove_prefix(std::min(command_line.find('\0'), command_line.size()));
      command_line.remove_prefix(std::min<std::size_t>(1, command_line.size()));
      continue;
    }
    way.append(word).push_back('\0');
  }
  return leads_on ? way : std::string();
}

}  // namespace banyan
