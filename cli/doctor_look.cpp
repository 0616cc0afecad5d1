#include "cli/doctor_look.h"

#include <algorithm>

namespace banyan::cli {
namespace {

constexpr std::size_t kLookLinesMax = 64;  // a few times what an honest shell prints

std::string_view take_word(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

}  // namespace

// The same test as stage 0's, in the same order. It is made in a folder that is private, has a name nobody
// can foresee and was not there before, so that nobody can put something in its place; and removed at once.
const std::string_view kLookLine =
    "t=; trap 'rm -rf \"$t\"; exit 1' 1 2 13 15\n"
    "for d in \"$XDG_RUNTIME_DIR\" /dev/shm /tmp /var/tmp \"$HOME\" .; do\n"
    "  [ \"$d\" ] || continue\n"
    "  s=unwritable\n"
    "  t=$d/.banyan-doctor-$2\n"
    "  if [ ! -d \"$d\" ]; then s=missing\n"
    "  elif (umask 77; mkdir \"$t\") 2>/dev/null; then\n"
    "    : 2>/dev/null >\"$t/x\" && s=noexec\n"
    "    chmod 700 \"$t/x\" 2>/dev/null && \"$t/x\" 2>/dev/null && s=ok\n"
    "    rm -rf \"$t\"\n"
    "  fi\n"
    "  echo \"directory $s $d\"\n"
    "done\n"
    "if ! command -v dd >/dev/null 2>&1; then echo dd none\n"
    "elif dd if=/dev/null of=/dev/null bs=1 count=1 iflag=fullblock 2>/dev/null; then echo dd fullblock\n"
    "else echo dd bytewise; fi\n"
    "p=$(readlink /proc/$PPID/exe 2>/dev/null) && echo \"program $p\"\n"
    "[ -z \"$1\" ] || [ ! -e \"$1\" ] || echo left\n"
    "exit 0\n";

Look parse_look(std::string_view output) {
  Look look;
  for (std::size_t i = 0; i < kLookLinesMax && !output.empty(); ++i) {
    const std::size_t end = std::min(output.find('\n'), output.size());
    std::string_view line = output.substr(0, end);
    output.remove_prefix(std::min(end + 1, output.size()));
    const std::string_view key = take_word(line);
    if (key == "directory") {
      const std::string_view state = take_word(line);
      look.directories.push_back({std::string(state), std::string(line)});
    }
    if (key == "dd") look.dd = line;
    if (key == "program") look.program = line;
    if (key == "left") look.file_is_left = true;
  }
  return look;
}

Stage0Report parse_stage0_report(std::string_view report) {
  Stage0Report parsed;
  parsed.machine = take_word(report);
  parsed.receiver = take_word(report);
  std::string_view missing = take_word(report);
  while (missing.starts_with(',')) {
    missing.remove_prefix(1);
    parsed.missing.emplace_back(missing.substr(0, missing.find(',')));
    missing.remove_prefix(parsed.missing.back().size());
  }
  if (report.starts_with("- ") || report == "-") {
    take_word(report);
    while (!report.empty())
      if (const std::string_view word = take_word(report); !word.empty()) parsed.tried.emplace_back(word);
  } else {
    parsed.file = report;
  }
  return parsed;
}

}  // namespace banyan::cli
