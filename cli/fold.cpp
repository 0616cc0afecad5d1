#include "cli/fold.h"

#include <algorithm>

#include "cli/printable.h"
#include "cli/progress.h"
#include "cli/ranges.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kColumnMax = 40;  // what is wider stands for itself, and pushes no other aside
constexpr std::uint64_t kBesideMax =
    4'096;  // a single line of a group stands beside its names, unless it is long
constexpr std::string_view kHostColor = "\x1b[36m", kMarkColor = "\x1b[33m", kPlain = "\x1b[0m";

std::string colored(std::string_view text, std::string_view color, bool use) {
  return use ? cat(color, text, kPlain) : std::string(text);
}

std::string padding(std::size_t used, std::size_t columns) {
  return std::string(columns > used ? columns - used : 0, ' ');
}

}  // namespace

std::string host_prefix(std::string_view name, bool color) {
  return colored(cat(name, ":"), kHostColor, color) + " ";
}

// Reads a text with something in front of each line.
class Fold::Lines {
 public:
  Lines(Spill& spill, const Spill::Text& text, std::string prefix)
      : spill_(spill), text_(text), prefix_(std::move(prefix)) {}

  // About one piece; false when there was none left.
  bool next(std::string& out) {
    if (at_ == block_bytes_.size()) {
      block_bytes_.clear();
      at_ = 0;
      if (!spill_.read(text_, block_++, block_bytes_)) return false;
    }
    while (at_ < block_bytes_.size() && out.size() < kPieceBytes) {
      if (begins_) out += prefix_;
      const std::size_t found = block_bytes_.find('\n', at_);
      begins_ = found != std::string::npos;
      const std::size_t end = begins_ ? found + 1 : block_bytes_.size();
      out += std::string_view(block_bytes_).substr(at_, end - at_);
      at_ = end;
    }
    return true;
  }

 private:
  Spill& spill_;
  const Spill::Text& text_;
  const std::string prefix_;
  std::size_t block_ = 0, at_ = 0;
  std::string block_bytes_;
  bool begins_ = true;  // the next byte begins a line
};

class Fold::Host {
 public:
  Host(std::string of, const SipHash::Key& key) : name(std::move(of)), hashes{SipHash(key), SipHash(key)} {}

  enum class State { kHolding, kReleasing, kLineByLine, kEnded };
  const std::string name;
  SipHash hashes[2];
  bool lacks_newline[2] = {false, false};
  State state = State::kHolding;
  Spill::Text text;
  std::uint64_t lines = 0;
  std::unique_ptr<Lines> released;  // kReleasing
  int open = 0;                     // streams
};

class Fold::Stream final : public StreamFormat {
 public:
  Stream(std::shared_ptr<Fold> fold, std::shared_ptr<Host> host, bool is_err)
      : fold_(std::move(fold)), host_(std::move(host)), is_err_(is_err), lines_("", fold_->look_.escape) {
    ++host_->open;
  }

  std::size_t take(std::string_view bytes, std::string& out) override {
    const bool too_much = fold_->look_.host_max > 0 && host_->text.bytes() > fold_->look_.host_max;
    if (host_->state == Host::State::kReleasing ||
        (host_->state == Host::State::kHolding && (too_much || fold_->spill_->has_failed()))) {
      if (fold_->release_piece(*host_, out)) return 0;
    }
    if (host_->state != Host::State::kHolding) {
      lines_.set_prefix(host_prefix(host_->name, fold_->look_.color));
      return lines_.take(bytes, out);
    }
    std::string lines;
    const std::size_t taken = lines_.take(bytes, lines);
    host_->hashes[is_err_].feed(bytes.substr(0, taken));
    host_->lacks_newline[is_err_] = bytes[taken - 1] != '\n';
    fold_->hold(*host_, lines);
    return taken;
  }

  void cut() override { lines_.cut(); }

  std::string finish() override {
    if (host_->state != Host::State::kHolding)
      lines_.set_prefix(host_prefix(host_->name, fold_->look_.color));
    std::string last = lines_.finish();
    if (host_->state == Host::State::kHolding) {
      // A last line is a line, with its newline or without.
      if (host_->lacks_newline[is_err_]) host_->hashes[is_err_].feed("\n");
      fold_->hold(*host_, std::exchange(last, {}));
    }
    if (--host_->open == 0) fold_->close(*host_);
    return last;
  }

 private:
  const std::shared_ptr<Fold> fold_;
  const std::shared_ptr<Host> host_;
  const bool is_err_;
  LineFormat lines_;
};

class Fold::Release final : public TextSource {
 public:
  Release(std::shared_ptr<Fold> fold, std::shared_ptr<Host> host)
      : fold_(std::move(fold)), host_(std::move(host)) {}
  bool next(std::string& out) override { return fold_->release_piece(*host_, out); }

 private:
  const std::shared_ptr<Fold> fold_;
  const std::shared_ptr<Host> host_;
};

class Fold::Groups final : public TextSource {
 public:
  Groups(std::shared_ptr<Fold> fold, std::vector<std::string> silent)
      : fold_(std::move(fold)), silent_(std::move(silent)) {}

  bool next(std::string& out) override {
    if (!is_begun_) begin();
    while (out.size() < kPieceBytes && at_ < groups_.size()) {
      Group& group = groups_[at_];
      if (!lines_) {
        add_head(out, group);
        lines_ = std::make_unique<Lines>(*fold_->spill_, group.text, "  ");
        if (!is_beside(group) && group.text.bytes() > 0) continue;
      } else if (lines_->next(out)) {
        continue;
      }
      lines_.reset();
      fold_->spill_->drop(group.text);
      ++at_;
    }
    return !out.empty();
  }

 private:
  static bool is_beside(const Group& group) { return group.lines <= 1 && group.text.bytes() <= kBesideMax; }

  std::string text_of(const Group& group) const {
    if (group.text.bytes() == 0) return "(no output)";
    std::string text;
    for (std::size_t block = 0; fold_->spill_->read(group.text, block, text); ++block) {
    }
    if (text.ends_with('\n')) text.pop_back();
    return text;
  }

  static std::string count_of(const Group& group) { return cat("(", group.names.size(), ")"); }

  void begin() {
    is_begun_ = true;
    groups_ = fold_->take_groups(silent_);
    auto widen = [](std::size_t& columns, std::size_t used) {
      if (used <= kColumnMax) columns = std::max(columns, used);
    };
    for (Group& group : groups_) {
      group.folded = printable(fold_names(group.names));
      widen(names_columns_, columns_of(group.folded));
      widen(count_columns_, columns_of(count_of(group)));
      if (is_beside(group)) widen(text_columns_, columns_of(text_of(group)));
    }
  }

  void add_head(std::string& out, const Group& group) const {
    const Look& look = fold_->look_;
    const std::string count = count_of(group);
    std::string text = is_beside(group) ? text_of(group) : "";
    out += cat(colored(group.folded, kHostColor, look.color),
               padding(columns_of(group.folded), names_columns_), " ", count);
    if (!text.empty() || group.differs) out += cat(padding(columns_of(count), count_columns_), "  ", text);
    if (group.differs) {
      out += cat(padding(columns_of(text), text_columns_), "  ",
                 colored(look.utf8 ? "← differs" : "<- differs", kMarkColor, look.color));
    }
    out += '\n';
  }

  const std::shared_ptr<Fold> fold_;
  const std::vector<std::string> silent_;
  bool is_begun_ = false;
  std::vector<Group> groups_;
  std::size_t names_columns_ = 0, count_columns_ = 0, text_columns_ = 0;
  std::size_t at_ = 0;
  std::unique_ptr<Lines> lines_;  // of groups_[at_], once its head is written
};

Fold::Fold(const Look& look, const SipHash::Key& key, std::function<void(std::string)> on_trouble,
           std::unique_ptr<Spill> spill)
    : look_(look), key_(key), on_trouble_(std::move(on_trouble)), spill_(std::move(spill)) {}

std::shared_ptr<Fold::Host> Fold::add(const std::string& name) {
  return std::make_shared<Host>(name, key_);
}

std::shared_ptr<StreamFormat> Fold::stream(const std::shared_ptr<Host>& host, bool is_err) {
  return std::make_shared<Stream>(shared_from_this(), host, is_err);
}

std::shared_ptr<TextSource> Fold::release(std::shared_ptr<Host> host) {
  return std::make_shared<Release>(shared_from_this(), std::move(host));
}

std::shared_ptr<TextSource> Fold::groups(std::vector<std::string> silent) {
  return std::make_shared<Groups>(shared_from_this(), std::move(silent));
}

void Fold::hold(Host& host, std::string_view lines) {
  spill_->append(host.text, lines);
  host.lines += std::uint64_t(std::ranges::count(lines, '\n'));
  if (spill_->has_failed() && !std::exchange(is_told_, true)) on_trouble_(spill_->failure());
}

// False when nothing is held of it any more: then its lines go as they come.
bool Fold::release_piece(Host& host, std::string& out) {
  if (host.state == Host::State::kHolding) {
    host.state = Host::State::kReleasing;
    host.released = std::make_unique<Lines>(*spill_, host.text, host_prefix(host.name, look_.color));
  }
  if (host.state != Host::State::kReleasing) return false;
  if (host.released->next(out)) return true;
  host.released.reset();
  spill_->drop(host.text);
  host.state = Host::State::kLineByLine;
  return false;
}

void Fold::close(Host& host) {
  if (std::exchange(host.state, Host::State::kEnded) != Host::State::kHolding) return;
  if (host.text.bytes() == 0) return;  // who is silent is for others to say
  const Key key = {host.hashes[0].digest(), host.hashes[1].digest()};
  ++hosts_;
  ++hosts_with_[key];
  const auto [place, is_new] = places_.try_emplace(key, groups_.size());
  if (is_new) {
    spill_->seal(host.text);
    groups_.push_back({key, {}, std::exchange(host.text, {}), host.lines});
  } else {
    spill_->drop(host.text);
  }
  groups_[place->second].names.push_back(host.name);
}

std::vector<Fold::Group> Fold::take_groups(const std::vector<std::string>& silent) {
  if (!silent.empty() && hosts_ > 0) {
    const Key key = {SipHash(key_).digest(), SipHash(key_).digest()};
    hosts_ += silent.size();
    hosts_with_[key] += silent.size();
    groups_.push_back({key, silent, {}, 0});
  }
  places_.clear();
  std::vector<Group> taken = std::exchange(groups_, {});
  // Where more than half say one thing the others differ; else nobody is the measure.
  auto is_usual = [this](const Group& group) { return 2 * hosts_with_[group.key] > hosts_; };
  std::ranges::stable_sort(taken, [&](const Group& a, const Group& b) {
    return std::pair(is_usual(a), a.names.size()) > std::pair(is_usual(b), b.names.size());
  });
  const bool has_usual =
      std::ranges::any_of(hosts_with_, [this](const auto& entry) { return 2 * entry.second > hosts_; });
  for (Group& group : taken) group.differs = has_usual && !is_usual(group);
  return taken;
}

}  // namespace banyan::cli
