#include "transports/ssh_answers.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "core/text.h"
#include "transports/cache_file.h"

namespace banyan {
namespace {

constexpr const char* kFileName = "ssh_settings";
constexpr std::string_view kVersion = "banyan ssh settings 1";
constexpr std::size_t kFileMax = 32 << 20;
constexpr std::size_t kConfigMax = 1 << 20;  // of one configuration file: a larger one is not looked through
constexpr std::size_t kDependenciesMax = 1'000;
constexpr std::int64_t kSettledSeconds = 2;  // what changed more recently may change again and look the same
constexpr std::string_view kPatternSigns = "*?[";

std::string_view take_line(std::string_view& text, char end_sign = '\n') {
  const std::size_t end = std::min(text.find(end_sign), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

bool is_plain(std::string_view text) {
  return text.find_first_of(std::string_view("\t\n\r\0", 4)) == std::string_view::npos;
}

std::string folder_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return std::string(slash == 0 ? "/" : path.substr(0, slash));
}

bool has_pattern(std::string_view path) {
  return path.find_first_of(kPatternSigns) != std::string_view::npos;
}

// What a file is, in one line: another content, another file in its place, or none, make another line.
// nullopt: it has changed too recently.
std::optional<std::string> stamp_of(const std::string& path, std::int64_t asked_at) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return cat(path, "\tnone");
  if (std::max(info.st_mtim.tv_sec, info.st_ctim.tv_sec) > asked_at - kSettledSeconds) return std::nullopt;
  return cat(path, "\t", info.st_dev, " ", info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec, ".",
             info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec);
}

constexpr std::int64_t kNeverTooRecent = INT64_MAX / 2;

// Does the text of a configuration file ask for nothing but files?
bool is_static(std::string_view config) {
  while (!config.empty()) {
    std::string line(take_line(config));
    for (char& c : line) {
      if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
    }
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string::npos || line[begin] == '#') continue;
    for (const char* sign : {"exec", "localnetwork", "canonical", "$"}) {
      if (line.find(sign) != std::string::npos) return false;
    }
    if (line.compare(begin, 7, "include") != 0) continue;
    std::string_view rest = std::string_view(line).substr(begin + 7);
    while (!rest.empty()) {
      const std::string_view pattern = take_line(rest, ' ');
      if (pattern.find('/') != std::string_view::npos && has_pattern(folder_of(pattern))) return false;
    }
  }
  return true;
}

std::string program_of(const std::string& argv0) {
  if (argv0.find('/') != std::string::npos) return argv0;
  const char* path = std::getenv("PATH");
  std::string_view folders = path == nullptr ? "/bin:/usr/bin" : path;
  while (!folders.empty()) {
    std::string candidate = cat(take_line(folders, ':'), "/", argv0);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return argv0;
}

std::string read_config(const std::string& path) {
  std::ifstream file(path);
  std::string text(kConfigMax + 1, '\0');
  file.read(text.data(), std::streamsize(text.size()));
  text.resize(std::size_t(file.gcount()));
  return text.size() > kConfigMax ? "$" : text;
}

}  // namespace

std::optional<std::vector<std::string>> dependencies_of_answer(
    std::string_view said, const std::vector<std::string>& main_files, const std::string& home,
    const std::function<std::string(const std::string& path)>& text_of) {
  std::vector<std::string> files = main_files;
  auto add = [&](std::string file) {
    if (std::ranges::find(files, file) == files.end()) files.push_back(std::move(file));
  };
  while (!said.empty()) {
    std::string_view line = take_line(said);
    if (line.ends_with('\r')) line.remove_suffix(1);
    constexpr std::string_view kReading = "debug1: Reading configuration data ", kNone = " matched no files";
    if (line.starts_with(kReading)) {
      const std::string file(line.substr(kReading.size()));
      if (!file.starts_with('/') || !is_static(text_of(file))) return std::nullopt;
      if (std::ranges::find(main_files, file) == main_files.end()) add(folder_of(file));
      add(file);
    } else if (line.starts_with("debug1: ") && line.ends_with(kNone)) {
      const std::size_t include = line.find(": include ");
      if (include == std::string_view::npos) return std::nullopt;
      std::string pattern(line.substr(include + 10, line.size() - kNone.size() - include - 10));
      if (pattern.starts_with("~/")) pattern = cat(home, pattern.substr(1));
      if (!pattern.starts_with('/')) return std::nullopt;
      if (has_pattern(pattern)) pattern = folder_of(pattern);
      if (has_pattern(pattern)) return std::nullopt;
      add(std::move(pattern));
    }
    if (files.size() > kDependenciesMax) return std::nullopt;
  }
  return files;
}

SshAnswers::SshAnswers(std::string folder, const LocalUser& local)
    : folder_(std::move(folder)),
      who_(cat(local.id, " ", local.name, " ", local.home, " ", local.host)),
      home_(local.home) {
  if (!folder_.empty()) entries_ = read(read_cache_file(cat(folder_, "/", kFileName), kFileMax));
}

std::string SshAnswers::key_of(const Question& question) const {
  std::string key = who_;
  for (const std::string& word : question) {
    if (!is_plain(word)) return "";
    key += cat("\t", word);
  }
  return is_plain(who_) ? key : "";
}

bool SshAnswers::is_valid(const Entry& entry) {
  return std::ranges::all_of(entry.stamps, [this](const std::string& stamp) {
    auto [it, is_new] = checked_.try_emplace(stamp, false);
    if (is_new) it->second = stamp_of(stamp.substr(0, stamp.find('\t')), kNeverTooRecent) == stamp;
    return it->second;
  });
}

std::optional<std::string> SshAnswers::find(const Question& question) {
  if (question.empty()) return std::nullopt;
  auto it = entries_.find(key_of(question));
  if (it == entries_.end() || !is_valid(it->second)) return std::nullopt;
  // Another program first in the PATH is not the one that was asked.
  if (it->second.stamps.empty() || !it->second.stamps[0].starts_with(program_of(question[0]) + "\t"))
    return std::nullopt;
  std::string answer;
  for (const std::string& line : it->second.lines) answer += line + "\n";
  return answer;
}

void SshAnswers::learn(const Question& question, std::string_view answer, std::string_view said,
                       std::int64_t asked_at) {
  const std::string key = question.empty() ? "" : key_of(question);
  if (folder_.empty() || key.empty()) return;
  std::vector<std::string> main_files = {cat(home_, "/.ssh/config"), "/etc/ssh/ssh_config"};
  for (std::size_t i = 0; i + 1 < question.size() && question[i] != "--"; ++i) {
    if (question[i] == "-F") main_files = {question[i + 1]};
  }
  if (main_files[0] == "none") main_files.clear();
  for (const std::string& file : main_files) {
    if (!file.starts_with('/')) return;  // means another file in another folder
  }
  auto files = dependencies_of_answer(said, main_files, home_, read_config);
  if (!files) return;
  files->insert(files->begin(), program_of(question[0]));
  Entry entry;
  for (const std::string& file : *files) {
    const std::optional<std::string> stamp = is_plain(file) ? stamp_of(file, asked_at) : std::nullopt;
    if (!stamp) return;
    entry.stamps.push_back(*stamp);
  }
  while (!answer.empty()) {
    const std::string_view line = take_line(answer);
    if (!is_plain(line)) return;
    entry.lines.emplace_back(line);
  }
  learned_.insert_or_assign(key, std::move(entry));
}

// Lines that many answers share are written once: "=LINE", counted from 0; an answer is a key, and then
// numbers of its stamps and of its lines.
std::string SshAnswers::write(const Entries& entries) {
  std::map<std::string_view, std::size_t> numbers;
  std::string text = cat(kVersion, "\n");
  auto list = [&](const std::vector<std::string>& lines) {
    std::string made;
    for (const std::string& line : lines) {
      auto [it, is_new] = numbers.try_emplace(line, numbers.size());
      if (is_new) text += cat("=", line, "\n");
      made += cat(made.empty() ? "" : " ", it->second);
    }
    return made;
  };
  for (const auto& [key, entry] : entries) {
    const std::string stamps = list(entry.stamps), lines = list(entry.lines);
    text += cat("?", key, "\n#", stamps, "\n:", lines, "\n.\n");
  }
  return text;
}

SshAnswers::Entries SshAnswers::read(std::string_view text) {
  Entries entries;
  if (take_line(text) != kVersion) return entries;
  std::vector<std::string_view> lines;
  auto list = [&](std::string_view numbers, std::vector<std::string>& to) {
    while (!numbers.empty()) {
      const std::string_view word = take_line(numbers, ' ');
      std::size_t number = 0;
      auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
      if (error != std::errc() || end != word.data() + word.size() || number >= lines.size()) return false;
      to.emplace_back(lines[number]);
    }
    return !to.empty();
  };
  std::string_view key;
  Entry entry;
  bool good = false;
  while (!text.empty() && entries.size() < kSshAnswersMax) {
    const std::string_view line = take_line(text);
    if (line.empty()) return entries;
    const std::string_view rest = line.substr(1);
    switch (line[0]) {
      case '=':
        lines.push_back(rest);
        break;
      case '?':
        key = rest;
        entry = {};
        good = true;
        break;
      case '#':
        good = good && list(rest, entry.stamps);
        break;
      case ':':
        good = good && list(rest, entry.lines);
        break;
      case '.':
        // One that was cut short has no end, or not all of its parts.
        if (good && !entry.stamps.empty() && !entry.lines.empty())
          entries.insert_or_assign(std::string(key), std::exchange(entry, {}));
        good = false;
        break;
      default:
        return entries;
    }
  }
  return entries;
}

void SshAnswers::save() {
  if (folder_.empty() || learned_.empty()) return;
  const bool written = replace_cache_file(folder_, kFileName, [this] {
    Entries entries = read(read_cache_file(cat(folder_, "/", kFileName), kFileMax));
    for (const auto& [key, entry] : learned_) {
      entries.erase(key);
      // Full: those that are out of date go, and if there are none, all do.
      if (entries.size() >= kSshAnswersMax)
        std::erase_if(entries, [this](const auto& old) { return !is_valid(old.second); });
      if (entries.size() >= kSshAnswersMax) entries.clear();
      entries.insert_or_assign(key, entry);
    }
    return write(entries);
  });
  if (written) learned_.clear();
}

}  // namespace banyan
