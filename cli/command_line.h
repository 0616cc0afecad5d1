// cli/command_line.h -- the words of a command line: which are options, which their values, and what is left;
// and the one table of options, which verb takes each, and what the help says of it.
//
// Pure. What the words mean is for cli/options.h to say. The grammar: docs/cli.md.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace banyan::cli {

struct OptionRow {
  std::vector<std::string_view> names;  // the first is the one it is looked up by
  std::string_view value;               // of what kind, for people; empty: it has none
  std::vector<std::string_view> verbs;  // that take it; empty: all
  std::string_view help;                // a line or several
  bool is_joined = false;               // given twice, both count, with a comma between
};

// In the order of the help. A name may stand in two rows, with other verbs and another help.
std::span<const OptionRow> option_rows();
bool takes_option(std::string_view verb, std::string_view name);

class CommandLine {
 public:
  // Never fails: what is wrong is for later, when the verb is known.
  explicit CommandLine(const std::vector<std::string>& words);

  // What stands for itself, in order: the verb, the targets.
  const std::string& verb() const { return verb_; }
  const std::string& targets() const { return targets_; }
  // Neither an option nor in its place, in order.
  const std::vector<std::string>& leftovers() const { return leftovers_; }
  // After the first "--". Nothing: there was none.
  const std::optional<std::vector<std::string>>& after_dashes() const { return after_dashes_; }

  // By its first name.
  bool has(std::string_view name) const { return given_.contains(name); }
  std::size_t count(std::string_view name) const;
  // As it was typed: "--fan-out". REQUIRES: it was given.
  std::string typed(std::string_view name) const { return given_.find(name)->second.typed; }
  // The last one given; "" if there was none.
  std::string value(std::string_view name) const;

  // The first names of those given, in the order of the table.
  std::vector<std::string_view> given() const;
  // What is wrong with the form: a value that is missing, or one too many; empty: nothing.
  const std::string& complaint() const { return complaint_; }

 private:
  struct Given {
    std::string typed, value;
    std::size_t count = 0;
  };
  using Words = std::vector<std::string>;

  void take_long(const Words& words, std::size_t& at);
  void take_short(const Words& words, std::size_t& at);
  void take_value(const OptionRow& row, const std::string& typed, const Words& words, std::size_t& at);
  void note(const OptionRow& row, const std::string& typed, const std::string& value);
  void complain(const std::string& text);

  std::string verb_, targets_, complaint_;
  std::vector<std::string> leftovers_;
  std::optional<std::vector<std::string>> after_dashes_;
  std::map<std::string, Given, std::less<>> given_;
};

}  // namespace banyan::cli
