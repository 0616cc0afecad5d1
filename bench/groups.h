// bench/groups.h -- the groups of measurements, one file each; ./dev bench runs those that are named, or all.
#pragma once

namespace banyan::bench {

void measure_local();  // children on this machine
void measure_round_trips();
void measure_hops();
void measure_streams();
void measure_many_calls();
// Through real agents, in real trees:
void measure_tree_trips();     // a call behind so many others
void measure_tree_calls();     // a thousand calls at once
void measure_tree_streams();   // a command's output
void measure_tree_mitogen();   // the same beside Mitogen
void measure_tree_flood();     // one child of twenty gives all it can
void measure_tree_thousand();  // a thousand children come and go
void measure_tree_scale();     // a hundred thousand, simulated
// Behind ssh, against a server of our own on the loopback interface:
void measure_ssh_start();   // one child
void measure_ssh_many();    // many hosts, beside other programs that do that
void measure_ssh_phases();  // where a hundred hosts' processor time goes
void measure_ssh_stream();  // bytes to a command and from it, on a short wire and a long one
void measure_ssh_warm();    // commands on a hundred hosts that are up
// Hosts behind hosts, in a chain of machines made of namespaces:
void measure_hops_depth();     // one to four of them
void measure_hops_siblings();  // twenty beneath one
void measure_shm_push();       // shared memory: rows from the writer's side
void measure_shm_latency();    // and until a reader has them
void measure_bytes();          // what is sent, and what is held in memory

}  // namespace banyan::bench
