#include "cli/command_line.h"

#include <algorithm>
#include <utility>

#include "cli/printable.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

const OptionRow kRows[] = {
    {{"-w", "-H", "--hosts"}, "TARGETS", {}, "the targets, for those who are used to it", true},
    {{"-x", "--exclude"}, "TARGETS", {}, "leave these out", true},
    {{"--sh"}, "LINE", {"run"}, "a line for /bin/sh; arguments after -- are its $1, $2, ..."},
    {{"--timeout"}, "DUR", {"run"}, "end the command, and all it started, after this long"},
    {{"-n"}, "", {"run"}, "do not read standard input"},
    {{"-S"}, "", {"run"}, "exit with the largest code of any target"},
    {{"--fold"}, "", {"run"}, "show hosts that said the same once, at the end, also into a pipe"},
    {{"--no-fold"}, "", {"run"}, "lines with the target in front, as they come, also on a terminal"},
    {{"-f", "--fan-out"}, "N", {"run", "tree", "doctor"}, "so many at once (64, at most 10000)"},
    {{"--connect-timeout"}, "DUR", {"run", "tree", "doctor"}, "give up reaching a target after this long"},
    {{"-F"}, "FILE", {}, "ssh's configuration file"},
    {{"-l"}, "USER", {}, "log in as USER, where the target does not say"},
    {{"--port"}, "N", {}, "the port, where the target does not say"},
    {{"-J"},
     "HOPS",
     {},
     "through these hosts (user@host:port,...), in place of ssh's ProxyJump; none: through none"},
    {{"--identity"}, "FILE", {}, "the private key to offer first; none of the key agent's others"},
    {{"--known-hosts"}, "FILE", {}, "the host keys; no other file is believed"},
    {{"--accept-new"},
     "",
     {"run", "tree", "doctor"},
     "believe the key of a host that none is known of, write it down, and say so"},
    {{"--accept-new"}, "", {"plan"}, "the key of a host that none is known of would be believed"},
    {{"-k", "--ask-pass"},
     "",
     {"run", "tree", "doctor"},
     "ask for one password, for every host that wants one; without it each host's is asked for"},
    {{"-b", "--become"}, "", {}, "be root there, by sudo"},
    {{"--become-user"}, "USER", {}, "with -b: that user instead"},
    {{"--become-method"}, "sudo|su|doas", {}, "with -b: by that program instead"},
    {{"-K", "--ask-become-pass"},
     "",
     {"run", "tree", "doctor"},
     "ask for the password of sudo, su or doas before anything starts; without it, when one is wanted"},
    {{"--no-ask"},
     "",
     {"run", "tree", "doctor"},
     "ask nothing: a host that wants a password or a passphrase fails"},
    {{"-4"}, "", {}, "IPv4 only"},
    {{"-6"}, "", {}, "IPv6 only"},
    {{"--ssh"},
     "auto|libssh2|openssh",
     {},
     "who speaks SSH: ssh itself, banyan-connector, or that where it can (banyan plan tells)"},
    {{"--trust-hop"}, "", {}, "our keys sign for a hop whose ssh (before OpenSSH 8.9) cannot prove where to"},
    {{"--json"}, "", {}, "one JSON object a line on standard output, and nothing else"},
    {{"--raw"}, "", {"run"}, "no escaping of control characters on a terminal"},
    {{"--color"}, "auto|always|never", {}, "auto: on a terminal, unless NO_COLOR is set"},
    {{"-q", "--quiet"}, "", {"run"}, "no progress line, no summary, no word about commands that failed"},
    {{"-q", "--quiet"}, "", {"tree", "doctor"}, "no progress line, no summary"},
    {{"-v", "--verbose"},
     "",
     {"run", "tree", "doctor"},
     "say when each context is up, and more of what contexts log; -vv: also every\n"
     "frame's header; -vvv: all that is logged"},
    {{"-h", "--help"}, "", {}, "this"},
    {{"--version"}, "", {}, "which banyan this is"},
};

const OptionRow* find(std::string_view name) {
  const auto row = std::ranges::find_if(kRows, [name](const OptionRow& each) {
    return std::ranges::find(each.names, name) != each.names.end();
  });
  return row == std::end(kRows) ? nullptr : row;
}

// Of a word that begins with a dash.
const OptionRow* find_in(std::string_view word) {
  return find(word.starts_with("--") ? word.substr(0, word.find('=')) : word.substr(0, 2));
}

bool is_option(std::string_view word) {
  return word.size() > 1 && word.starts_with('-') && find_in(word) != nullptr;
}

}  // namespace

std::span<const OptionRow> option_rows() {
  return kRows;
}

bool takes_option(std::string_view verb, std::string_view name) {
  return std::ranges::any_of(kRows, [&](const OptionRow& row) {
    return std::ranges::find(row.names, name) != row.names.end() &&
           (row.verbs.empty() || std::ranges::find(row.verbs, verb) != row.verbs.end());
  });
}

CommandLine::CommandLine(const Words& all) {
  const auto dashes = std::ranges::find(all, "--");
  const Words words(all.begin(), dashes);
  if (dashes != all.end()) after_dashes_.emplace(dashes + 1, all.end());
  std::string* place = &verb_;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (is_option(word)) {
      if (word.starts_with("--")) {
        take_long(words, at);
      } else {
        take_short(words, at);
      }
    } else if (place == nullptr || (word.size() > 1 && word.starts_with('-'))) {
      leftovers_.push_back(word);
    } else {
      *place = word;
      place = place == &verb_ ? &targets_ : nullptr;
    }
  }
}

void CommandLine::take_long(const Words& words, std::size_t& at) {
  const std::string& word = words[at];
  const std::size_t equals = word.find('=');
  const std::string typed = word.substr(0, equals);
  const OptionRow& row = *find(typed);
  if (equals == word.npos && !row.value.empty()) return take_value(row, typed, words, at);
  if (equals != word.npos && row.value.empty()) return complain(cat(word, ": ", typed, " has no value"));
  note(row, typed, equals == word.npos ? "" : word.substr(equals + 1));
}

// One, its value beside it or next; or several without values: -vvq.
void CommandLine::take_short(const Words& words, std::size_t& at) {
  const std::string& word = words[at];
  for (std::size_t letter = 1; letter < word.size(); ++letter) {
    const std::string typed = {'-', word[letter]};
    const OptionRow* row = find(typed);
    if (row == nullptr) return leftovers_.push_back(word);
    if (!row->value.empty()) {
      if (letter + 1 == word.size()) return take_value(*row, typed, words, at);
      return note(*row, typed, word.substr(letter + 1));
    }
    note(*row, typed, "");
  }
}

void CommandLine::take_value(const OptionRow& row, const std::string& typed, const Words& words,
                             std::size_t& at) {
  if (at + 1 == words.size() || is_option(words[at + 1]))
    return complain(cat(typed, ": a value is missing: ", row.value));
  note(row, typed, words[++at]);
}

void CommandLine::note(const OptionRow& row, const std::string& typed, const std::string& value) {
  Given& given = given_[std::string(row.names[0])];
  given.typed = typed;
  given.value = row.is_joined && given.count > 0 ? cat(given.value, ",", value) : value;
  ++given.count;
  // The later of the two counts.
  if (row.names[0] == "--fold") given_.erase("--no-fold");
  if (row.names[0] == "--no-fold") given_.erase("--fold");
}

void CommandLine::complain(const std::string& text) {
  if (complaint_.empty()) complaint_ = printable(text);
}

std::size_t CommandLine::count(std::string_view name) const {
  const auto given = given_.find(name);
  return given == given_.end() ? 0 : given->second.count;
}

std::string CommandLine::value(std::string_view name) const {
  const auto given = given_.find(name);
  return given == given_.end() ? "" : given->second.value;
}

std::vector<std::string_view> CommandLine::given() const {
  std::vector<std::string_view> names;
  for (const OptionRow& row : kRows) {
    const bool is_new = names.empty() || names.back() != row.names[0];
    if (is_new && has(row.names[0])) names.push_back(row.names[0]);
  }
  return names;
}

}  // namespace banyan::cli
