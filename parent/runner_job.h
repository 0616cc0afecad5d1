// parent/runner_job.h -- one child from its start to its end: process, link, farewell.
//
// By itself it starts images of this machine; what transports need besides is parent/transport_job.h. Part of
// the Runner; nobody else includes this.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parent/carrier.h"
#include "parent/runner.h"

namespace banyan {

class Runner::Job : protected Link::Owner, protected Carrier::Owner {
 public:
  Job(Runner& runner, StartId id, Recipe recipe, OnUp on_up, OnLost on_lost);
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  virtual ~Job();

  virtual void begin();
  void cancel();
  void shut_down(Nanos within, Function<void()> done);

  StartId id() const { return id_; }
  Phase phase() const { return phase_; }
  Nanos asked() const { return asked_; }
  bool is_up() const { return child_.id != 0; }
  ContextId context() const { return child_.id; }
  // Nothing is left of it but its callbacks, and the process of one that has detached.
  bool is_over() const { return (carrier_over_ || lives_on()) && link_over_; }
  bool is_reaped() const { return carrier_over_; }
  std::vector<Function<void()>> take_waiters() { return std::move(waiters_); }
  Function<void()> take_loss();  // tells that it was lost and why; empty if it was not

 protected:
  // Link::Owner, until the hello; then the router is.
  void on_frame(Link& link, const Header& header, Bytes payload) override;
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link& link, const Error& error, FrameQueue unsent) override;

  void on_carrier_phase(Phase) override {}
  void on_carrier_asks(bool) override {}
  void on_carrier_text(std::string_view text) override;
  void on_carrier_end(const Carrier::Ending& ending) override;

  virtual Result<std::unique_ptr<Carrier>> start_carrier(Fd far_end);
  virtual void close_channel();
  virtual void note_phase(Phase) {}
  // What is known of the transport says more than the error itself.
  virtual Error explained(Error error) const;
  // Why the link broke: the way to the context is lost, or the context is dead. Its process has been reaped.
  virtual Error cause_of_loss() const;
  Error cause_of_death() const;  // as its process ended

  bool open_channel();  // and starts the carrier; false: that failed, and is told
  void make_link(Bytes early);
  void enter(Phase phase, Nanos deadline);
  void limit_total(Nanos left);
  void fail(Error error);
  void transport_ended(Error error);

  Runner& runner_;
  const StartId id_;
  const Recipe recipe_;
  Child child_;
  const Nanos began_;
  Phase phase_ = Phase::kConnect;
  Loop::TimerId phase_timer_ = 0, total_timer_ = 0, end_timer_ = 0;
  Nanos phase_deadline_ = 0;
  Nanos asked_ = 0;       // how long a person was asked
  Nanos total_ends_ = 0;  // when; while a person is asked: how much is left
  bool asks_ = false;

  std::unique_ptr<Carrier> carrier_;
  Carrier::Ending ending_of_carrier_;
  Fd channel_;              // to the transport, until a link owns it
  std::string complaints_;  // the end of what was said on the transport's stderr
  std::optional<Error> failure_;
  std::optional<Error> loss_;  // what the link said when it broke, unless we asked for it
  bool ended_by_us_ = false;   // the carrier, after the link
  bool is_let_go_ = false;     // it asked to be: it detaches
  Alive alive_;

 private:
  void welcome(IdRange ids);
  void on_link_down(const Error& error);
  // Its process is itself, and not a transport of ours.
  bool lives_on() const { return is_let_go_ && recipe_.boot == Recipe::Boot::kImage && !recipe_.source; }
  void end_after(Nanos delay, Loop::Task task);  // in place of what was to end it before
  void settle();

  OnUp on_up_;
  OnLost on_lost_;
  bool carrier_over_ = false;
  bool link_over_ = true;  // neither channel nor link is open
  bool has_said_hello_ = false;
  std::unique_ptr<Link> greeting_;  // the link until it is the router's
  bool ending_ = false;             // we asked for it
  std::vector<Function<void()>> waiters_;
};

// The last line that says something.
std::string_view last_line(std::string_view text);

}  // namespace banyan
