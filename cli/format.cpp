#include "cli/format.h"

namespace banyan::cli {

std::string StreamFormat::feed(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    std::string piece;
    bytes.remove_prefix(take(bytes, piece));
    out += piece;
  }
  return out;
}

std::size_t PlainFormat::take(std::string_view bytes, std::string& out) {
  bytes = bytes.substr(0, kPieceBytes);
  out += escape_ ? escaper_.feed(bytes) : bytes;
  return bytes.size();
}

void PlainFormat::cut() {
  (void)escaper_.finish();
}

std::string PlainFormat::finish() {
  return escape_ ? escaper_.finish() : std::string();
}

void LineFormat::add_line(std::string& out, std::string_view line) const {
  out += prefix_;
  if (!escape_) {
    out += line;
  } else {
    // The carriage return of a line that ends in CR LF moves nothing; any other would overwrite the prefix.
    if (line.ends_with('\r')) line.remove_suffix(1);
    TerminalEscaper escaper(false);
    out += escaper.feed(line);
    out += escaper.finish();
  }
  out += '\n';
}

std::size_t LineFormat::take(std::string_view bytes, std::string& out) {
  const std::size_t all = bytes.size();
  while (!bytes.empty() && out.size() < kPieceBytes) {
    const std::size_t end = bytes.find('\n');
    const std::size_t room = kLineMax - line_.size();
    if (end != std::string_view::npos && end <= room) {
      if (line_.empty()) {
        add_line(out, bytes.substr(0, end));
      } else {
        line_ += bytes.substr(0, end);
        add_line(out, line_);
        line_.clear();
      }
      bytes.remove_prefix(end + 1);
    } else if (bytes.size() > room) {
      line_ += bytes.substr(0, room);
      bytes.remove_prefix(room);
      const std::size_t torn = unfinished_utf8(line_);  // goes to the next piece
      add_line(out, std::string_view(line_).substr(0, line_.size() - torn));
      line_.erase(0, line_.size() - torn);
    } else {
      line_ += bytes;
      bytes = {};
    }
  }
  return all - bytes.size();
}

std::string LineFormat::finish() {
  std::string out;
  if (!line_.empty()) add_line(out, line_);
  line_.clear();
  return out;
}

std::size_t JsonFormat::take(std::string_view bytes, std::string& out) {
  bytes = bytes.substr(0, kPieceBytes);
  held_ += bytes;
  const std::size_t whole = held_.size() - unfinished_utf8(held_);
  if (whole > 0) out += events_.out(target_, is_err_, std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return bytes.size();
}

std::string JsonFormat::finish() {
  std::string out;
  if (!held_.empty()) out = events_.out(target_, is_err_, held_);
  held_.clear();
  return out;
}

}  // namespace banyan::cli
