#include "cli/progress.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr Nanos kRedrawEvery = 100 * kMillisecond;  // more is not seen, and costs on a slow terminal
constexpr std::size_t kColumnsUnknown = 80;

bool begins_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

// A background job leaves the terminal to the others. Not our controlling terminal: nobody has a say.
bool is_in_foreground(int terminal) {
  const pid_t group = ::tcgetpgrp(terminal);
  return group < 0 || group == ::getpgrp();
}

}  // namespace

std::size_t columns_of(std::string_view text) {
  return std::size_t(std::ranges::count_if(text, begins_character));
}

std::size_t terminal_columns(int fd) {
  winsize size = {};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kColumnsUnknown;
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string locale(value);
    std::ranges::transform(locale, locale.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    return locale.find("utf-8") != locale.npos || locale.find("utf8") != locale.npos;
  }
  return false;
}

std::string progress_text(const ProgressCounts& counts, Nanos elapsed, bool utf8, std::size_t columns) {
  std::vector<std::string> parts = {cat(counts.over, "/", counts.total)};
  for (std::size_t phase = 0; phase < kPhaseCount; ++phase) {
    if (counts.reaching[phase] > 0) parts.push_back(cat(counts.reaching[phase], " ", name_of(Phase(phase))));
  }
  if (counts.running > 0) parts.push_back(cat(counts.running, " running"));
  if (counts.failed > 0) parts.push_back(cat(counts.failed, " failed"));
  const Nanos tenths = elapsed / (100 * kMillisecond);
  parts.push_back(cat(tenths / 10, ".", tenths % 10, "s"));
  std::string line;
  for (const std::string& part : parts) line += cat(line.empty() ? "" : utf8 ? " · " : ", ", part);
  std::size_t end = 0, used = 0;
  while (end < line.size() && (!begins_character(line[end]) || used + 1 + kEchoColumns < columns))
    used += begins_character(line[end++]) ? 1 : 0;
  line.resize(end);
  return line;
}

Progress::Progress(Loop& loop, int terminal, Nanos wait, Count count, Draw draw)
    : loop_(loop),
      terminal_(terminal),
      utf8_(locale_is_utf8()),
      began_(loop.now()),
      count_(std::move(count)),
      draw_(std::move(draw)) {
  arm(wait);
}

void Progress::arm(Nanos wait) {
  timer_ = loop_.after(wait, [this] {
    is_shown_ = true;
    arm(kRedrawEvery);
    redraw();
  });
}

void Progress::redraw() {
  if (!is_shown_) return;
  draw_(is_in_foreground(terminal_)
            ? progress_text(count_(), loop_.now() - began_, utf8_, terminal_columns(terminal_))
            : "");
}

}  // namespace banyan::cli
