// transports/ssh_answers.h -- what `ssh -G` answered in earlier runs, for as long as nothing it depends on
// has changed.
//
// An answer depends on the files that ssh read (it tells with -v), on those it looked for and did not find,
// on the folders that its Include patterns look into, on the program itself, and on who and where we are. An
// answer that depends on more (Match exec, networks, names canonicalised by the DNS, the environment) is
// never kept, nor is one whose files changed just before it was asked for. A file in the cache folder,
// believed only if it is ours alone.
//
// Thread: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transports/ssh_settings.h"

namespace banyan {

constexpr std::size_t kSshAnswersMax = 10'000;  // kept between runs; some 4 MiB

class SshAnswers {
 public:
  using Question = std::vector<std::string>;  // the argument vector

  // Reads what is there. An empty folder: keeps nothing.
  SshAnswers(std::string folder, const LocalUser& local);

  // What ssh printed last time; nullopt: ask it.
  std::optional<std::string> find(const Question& question);
  // `said`: what ssh -v said beside it. `asked_at`: seconds of the wall clock, before it was asked.
  void learn(const Question& question, std::string_view answer, std::string_view said, std::int64_t asked_at);
  // Writes what was learned since. Never waits.
  void save();

 private:
  struct Entry {
    std::vector<std::string> stamps;  // of all it depends on
    std::vector<std::string> lines;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;
  static std::string write(const Entries& entries);
  static Entries read(std::string_view text);
  std::string key_of(const Question& question) const;
  bool is_valid(const Entry& entry);

  const std::string folder_, who_;
  const std::string home_;
  Entries entries_, learned_;
  std::map<std::string, bool> checked_;  // stamps: is it so still? Looked at once a run
};

// The files and folders that an answer depends on, or nullopt: on more than those. `main_files`: which ssh
// reads first whether they are there or not. `text_of` reads a file.
std::optional<std::vector<std::string>> dependencies_of_answer(
    std::string_view said, const std::vector<std::string>& main_files, const std::string& home,
    const std::function<std::string(const std::string& path)>& text_of);

}  // namespace banyan
