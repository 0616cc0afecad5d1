// bench/groups.h -- the groups of measurements, one file each; ./dev bench runs those that are named, or all.
#pragma once

namespace banyan::bench {

void measure_local();  // children on this machine
void measure_round_trips();
void measure_hops();
void measure_streams();
void measure_many_calls();
void measure_ssh();    // children behind ssh, against a server of our own on the loopback interface
void measure_bytes();  // what is sent, and what is held in memory

}  // namespace banyan::bench
