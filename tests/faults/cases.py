"""What goes wrong in the fault tests, and what must come of it."""

from dataclasses import dataclass

# 12 steps an epoch, 6 chunks of validation, a checkpoint after every step.
SETTINGS = (("model", "mlp"), ("batch-size", 225), ("epochs", 2), ("evaluation-batch", 50),
            ("checkpoint-every-steps", 1), ("threads", 1))


@dataclass(frozen=True)
class Case:
    name: str
    faults: str         # --inject-fault; {last}: the highest rank
    code: int           # of bare mpirun
    message: str        # regular expression of the essential message (or its groups), by whomever; {last} as above;
                        # "": no alarm
    launched: int = 69  # code of launch/train
    saved: int = 6      # the newest checkpoint that is left; 0: none; None: the job reaches its end
    cut: bool = False   # the root's end may come while it is written: then the one before
    settings: tuple = ()
    special: str = ""   # what is done to one rank without --inject-fault; see special.py
    shown: str = ""     # the README's command; empty: --inject-fault
    timeout: int = 20
    within: int = 15    # seconds from the fault to the end
    quick: bool = True  # belongs to every test run
    lasting: str = ""   # those faults that the undisturbed run has, too

    def command(self):
        return self.shown or f"`--inject-fault '{self.faults.format(last=1)}'`"


# A rank that waits, or a watchdog, ends the job 4 to 6 s after the fault.
DEADLINE = {"timeout": 4}
# Nothing is injected into a rank that is started differently: time counts from the start.
DIFFERENT = {"faults": "", "within": 30}

CASES = [
    Case("SIGKILL in forward", "kill@forward:rank={last},step=7", 137,
         r"rank {last} \(host\) died .* in phase training of step 7, after .*; ranks? 0.* waited for it in .* step 7",
         cut=True),
    Case("SIGKILL in all-reduce", "kill@all-reduce:rank={last},step=7", 137,
         r"(rank {last} \(host\) died .* in all_reduce .* of step 7); ranks? 0.* waited for it.*", cut=True),
    Case("SIGKILL in validation", "kill@validation:rank={last}", 137,
         r"rank {last} \(host\) died .* in phase validation.* step 12; .*", saved=11, cut=True, quick=False),
    Case("SIGKILL of the root while it writes a checkpoint", "kill@checkpoint:rank=0,step=7,pass=9", 137,
         r"(rank 0 \(host\) died without a word \(SIGKILL or want of memory\)).* step [78].*"),
    Case("SIGSTOP", "stop@forward:rank={last},step=7", 69,
         r"rank {last} \(host\) is stopped \(SIGSTOP\) and is behind: in phase training.* step 7,.*? step 6",
         **DEADLINE),
    Case("hang in user code", "hang@forward:rank={last},step=7", 69,
         r"rank {last} \(host\) is behind: in phase training.* step 7,.*? step 6", **DEADLINE),
    Case("fsync hangs on the root", code=69, message=r"rank 0 \(host\) .* in phase checkpoint", special="fsync",
         shown="`strace -e inject=fsync:delay_enter=60s:when=42` on rank 0", saved=3, **DEADLINE, **DIFFERENT),
    Case("slow rank, within the deadline", "slow@forward:rank={last},step=3-5,seconds=2", 0, "", 0, saved=None,
         timeout=4),
    Case("root slow alone, with progress: validation", "slow@validation:rank=0,step=12,seconds=1.5", 0, "", 0,
         settings=(("validation", "root"),), saved=None, timeout=4),
    Case("root slow alone, with progress: checkpoint", "slow@checkpoint:rank=0,step=5,seconds=0.5", 0, "", 0,
         saved=None, timeout=4, quick=False),
    Case("exception on one rank", "throw@forward:rank={last},step=7", 70,
         r"error: rank {last} \(host\).*: injected fault: throw@forward, step 7", 70, cut=True),
    Case("exception on the root", "throw@forward:rank=0,step=7", 70,
         r"error: rank 0 \(host\).*: injected fault: throw@forward, step 7", 70, quick=False),
    Case("exception at the start", "throw@start:rank={last}", 70,
         r"error: rank {last} \(host\).*: injected fault: throw@start", 70, saved=0, quick=False),
    Case("SIGSTOP at the start", "stop@start:rank={last}", 69,
         r"(MPI's start waits for a rank that has not come; on this host rank {last}) \(process \d+\) "
         r"(is stopped \(SIGSTOP\))", saved=0, quick=False, **DEADLINE),
    Case("hang at the start", "hang@start:rank={last}", 69,
         r"rank {last} \(host\): no sign of life for N s in phase start-up", saved=0, quick=False, **DEADLINE),
    Case("exception while loading data", "throw@load:rank={last}", 70,
         r"error: rank {last} \(host\).*: injected fault: throw@load", 70, saved=0),
    Case("exception while a checkpoint is written", "throw@checkpoint:rank=0,step=7,pass=9", 70,
         r"(error: rank 0 \(host\), in phase checkpoint) of step [78], .*(: injected fault: throw@checkpoint, step 7)", 70,
         quick=False),
    Case("one rank with other settings", code=64, message=r"rank {last} \(host\) had other settings than rank 0.*",
         launched=64, special="settings", shown="`--seed 2` on rank 1 only", saved=0, **DIFFERENT),
    Case("one rank with other data", code=65, message=r"rank {last} \(host\) had other training data than rank 0.*",
         launched=65, special="data", shown="one label changed in rank 1's `--data`", saved=0, quick=False,
         **DIFFERENT),
    Case("NaN in one rank's gradient", "nan@gradient:rank={last},step=7", 76,
         r"step 7: the reduced gradient is not finite: .* from rank {last} \(host\); the weights are those of step 6",
         76),
    Case("Inf in what one rank receives", "inf@all-reduce:rank={last},step=7", 76,
         r"step 7: rank {last} \(host\) received another reduced gradient than .*: it is not finite, "
         r"theirs is; the weights are those of step 6", 76),
    Case("Inf, with --on-non-finite skip, then SIGKILL",
         "inf@gradient:rank={last},step=7; kill@forward:rank=0,step=9", 137,
         r"step 7: the reduced gradient is not finite: .* from rank {last} \(host\); its update is left out",
         settings=(("on-non-finite", "skip"),), saved=8, cut=True, lasting="inf@gradient:rank={last},step=7"),
    Case("bit flipped in one replica's weights", "flip@weights:rank={last},step=7,tensor=dense2.weight,element=5",
         76, r"step 7: the weights of rank {last} \(host\) differ .* on rank {last} and .*", 76),
    Case("bit flipped in one replica's optimizer state",
         "flip@weights:rank={last},step=7,tensor=square_average.dense2.weight,element=5",
         76, r"step 7: the optimizer state of rank {last} \(host\) differs .* on rank {last} and .*", 76, quick=False),
    Case("bit flipped in what one rank receives", "flip@all-reduce:rank={last},step=7,bit=30", 76,
         r"step 7: the weights and optimizer state of rank {last} \(host\) differ .* on rank {last} and .*", 76, quick=False),
    Case("out of memory on one rank", code=69, saved=0, special="memory",
         message=r"(rank {last} \(host\), in phase training of step 1).*: (out of memory)", shown="`prlimit --as` on rank 1",
         settings=(("model", "lenet"), ("batch-size", 2700), ("epochs", 1)), **DIFFERENT),
]
