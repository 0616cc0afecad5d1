// parent/entry.h -- entering the namespaces of a process of this machine: what a hop does when it is started
// with more words than its nonce.
//
// A process of its own, with one thread, which may block: it asks the engine which process leads the
// container, looks at that one through one descriptor of its folder in /proc, enters its namespaces and its
// cgroups, gives up every right that one has not, and executes its own image anew. What runs in there can
// never write to it: it is sealed memory, or nothing is entered (docs/security.md). What may not be entered
// is left alone, and the parent is told by kOtherWay that nothing has happened there.
//
// Only hops link it. Words are printed on standard error, for the parent's Recipe::symptoms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace banyan {

// The exit code that says: not this way, for the reason that stands in the last line; another may do.
constexpr int kOtherWay = 76;

// Words that symptoms know.
constexpr std::string_view kNotInstalled = "is not installed here";
constexpr std::string_view kNotRunning = "it is not running";
constexpr std::string_view kPaused = "it is paused";
constexpr std::string_view kNoProcess = "no such process";
// What begins the line that says why another way is to be gone.
constexpr std::string_view kNotEntered = "its namespaces were not entered: ";

struct Leader {
  int pid = 0;       // 0: it does not run
  std::string mark;  // stands in the names of its cgroups; empty: not known
  std::uint32_t uid = 0, gid = 0;
  bool lacks_group = false;  // a user was named, and no group
};

// What an engine printed: a number, the mark, and after both "", "UID" or "UID:GID". False: something else.
bool parse_leader(std::string_view said, Leader& leader);

// Whether a folder of these cgroups is called so, as engines call them. A mark of a few characters is none.
constexpr std::size_t kMarkMin = 8;
bool is_marked(std::string_view cgroups, std::string_view mark);

// Whether the second of the texts of /proc/PID/cgroup has a line that the first has not; it is left in `line`
// and taken off `theirs`.
bool next_foreign_cgroup(std::string_view ours, std::string_view& theirs, std::string_view& line);
// The folder of such a line; empty: it has none that could be ours. `has_unified`: of a machine with both
// versions.
std::string cgroup_folder(std::string_view line, bool has_unified);

struct Limit {
  std::uint64_t soft = 0, hard = 0;  // UINT64_MAX: there is none
};
// A line of /proc/PID/limits but its first. False: it is none.
bool parse_limit(std::string_view line, Limit& limit);

// `words`: the number of a process, or the command that says it, and a null pointer.
[[noreturn]] void enter_namespaces(char* nonce, char** words);

}  // namespace banyan
