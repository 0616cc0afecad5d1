#include "cli/doctor.h"

#include <set>
#include <string_view>
#include <utility>

#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr Nanos kLookDeadline = 5 * kSecond;  // of the command that looks; not to know is no failure
constexpr std::size_t kLookedMax = 16 * 1024;
constexpr std::size_t kReportsHeldMax = 4 << 20;  // some two thousand: nobody waits that long for the first

}  // namespace

Doctor::Doctor(const Machinery& machinery, OnOver on_over)
    : Inquiry(machinery, std::move(on_over)), works_(count()), reports_(kReportsHeldMax) {
  for (Index i = 0; i < works_.size(); ++i) {
    works_[i].seen.target = shown_name(target(i));
    works_[i].seen.method = target(i).method;
    works_[i].seen.user = target(i).user;
    works_[i].seen.container = target(i).container;
    works_[i].seen.engine = target(i).engine;
    if (target(i).hop) works_[i].seen.hop = target(i).hop->name;
    works_[i].seen.way = &works_[i].way;
  }
  std::set<std::string_view> hops;
  for (const Work& work : works_) hops.insert(work.seen.hop);
  for (Work& work : works_) work.seen.is_hop = hops.contains(work.seen.target);
}

Doctor::~Doctor() {
  for (Work& work : works_) loop_.cancel(work.look_timer);
}

WayRecord* Doctor::record(Index index) {
  return &works_[index].way;
}

void Doctor::start_work(Index index, const Child& child) {
  works_[index].seen.child = child;
  ask(index, {child.id}, 1);
}

void Doctor::on_answer(Index index, ContextId, const ContextInfo& info, Nanos quickest) {
  works_[index].seen.info = info;
  works_[index].seen.round_trip = quickest;
  look(index);
}

// The one that stage 0 made; empty: none, or that is not known.
std::string Doctor::stage0_file(const Work& work) {
  const StartJournal* journal = work.way.journal.get();
  return journal == nullptr ? std::string() : parse_stage0_report(journal->report).file;
}

// What only somebody there can see.
void Doctor::look(Index index) {
  Work& work = works_[index];
  ExecRequest request;
  request.argv = {std::string(kLookLine), "sh", stage0_file(work)};
  request.argv.push_back(hex64(loop_.random()));
  request.shell = true;
  request.timeout = kLookDeadline;
  Command::Callbacks callbacks;
  callbacks.on_output = [&work](bool is_err, Bytes bytes, Charge) {
    if (!is_err && work.looked.size() < kLookedMax) work.looked.append(as_text(bytes));
  };
  callbacks.on_done = [this, index](Result<ExecOutcome> outcome) {
    // The Command is ours to destroy, and we are called by it.
    loop_.post([this, index,
                is_whole = outcome && outcome->kind == ExecOutcome::Kind::kExited &&
                           outcome->ended == ExecOutcome::Ended::kItself] {
      if (is_working(index) && is_whole) works_[index].seen.look = parse_look(works_[index].looked);
      on_looked(index);
    });
  };
  work.look_timer = loop_.after(kLookDeadline + 3 * kSecond, [this, index] { on_looked(index); });
  work.look = std::make_unique<Command>(router_, context(index), std::move(request), std::move(callbacks));
}

void Doctor::on_looked(Index index) {
  if (!is_working(index)) return;
  Work& work = works_[index];
  if (lost(index)) return fail(index, *lost(index), Verdict::kUnreachable, work_began(index));
  const std::string file = stage0_file(work);
  // What the look says is what they over there say: without a file there is none that is left.
  const bool is_left = !file.empty() && work.seen.look && work.seen.look->file_is_left;
  if (!is_left) return conclude(index, {Verdict::kOk, 0});
  work.seen.left = cat("a file of ours: ", file);
  fail(index, make_error(ErrorClass::kIo, Phase::kLink, cat("left: ", work.seen.left), Started::kYes),
       Verdict::kUnreachable, work_began(index));
}

void Doctor::end_work(Index index) {
  Inquiry::end_work(index);
  Work& work = works_[index];
  loop_.cancel(std::exchange(work.look_timer, 0));
  work.look.reset();
  if (work.left_at == 0) work.left_at = loop_.now();
}

void Doctor::say_failure(Index index, const Error& error, Nanos) {
  works_[index].seen.error = error;
}

void Doctor::on_over(Index index) {
  Work& work = works_[index];
  Seen& seen = work.seen;
  const Nanos now = loop_.now();
  seen.took = (work.left_at != 0 && !seen.child ? work.left_at : now) - work.way.began;
  if (seen.child && !lost(index)) seen.farewell = now - work.left_at;
  const DoctorReport ladder = make_ladder(seen);
  const Output::Style& style = output_.style();
  output_.text(reports_.add(index, style.json ? doctor_json(ladder, style.escape_out) : doctor_text(ladder)));
}

void Doctor::report() {
  output_.text(reports_.rest());
}

}  // namespace banyan::cli
