#include "parent/start_journal.h"

#include <utility>

namespace banyan {

namespace {
constexpr std::size_t kLineMax = 8 * 1024;  // then a line is let go, whatever follows
}

void StartJournal::enter(Phase phase, Nanos now) {
  if (phases.size() < kPhasesMax) phases.push_back({phase, now});
}

void StartJournal::say(std::string_view text, Nanos now) {
  text = text.substr(0, kSaidMax - said_bytes);
  if (text.empty()) return;
  said_bytes += text.size();
  said.push_back({std::string(text), now});
}

void StartJournal::note_shell(const std::string& so_far, const std::string& its_report, Nanos now) {
  if (reported != 0) return;
  noise = so_far;
  report = its_report;
  if (!report.empty()) reported = now;
}

std::string AsideFilter::feed(std::string_view text) {
  if (beginning_.empty()) return std::string(text);
  begun_.append(text);
  std::string rest;
  std::size_t from = 0;
  for (std::size_t end; (end = begun_.find('\n', from)) != std::string::npos; from = end + 1) {
    const std::string_view line = std::string_view(begun_).substr(from, end + 1 - from);
    if (!line.starts_with(beginning_)) rest.append(line);
  }
  begun_.erase(0, from);
  if (begun_.size() > kLineMax) rest.append(finish());
  return rest;
}

std::string AsideFilter::finish() {
  std::string line = std::exchange(begun_, {});
  if (!beginning_.empty() && line.starts_with(beginning_)) line.clear();
  return line;
}

}  // namespace banyan
