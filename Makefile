# make demo       environment, then out/demo.bvh, out/demo.mp4 and out/demo.gif from one sentence
# make test       the same environment, then lint, types and tests
# make test-slow  the tests that take minutes each, those on a Ray cluster too
# make player     what runs in a browser, the player and the page of the server, from player/ (needs Node.js with npm)
# make fuzz       FUZZ=2000 spoiled files of each kind for every reader
# make guided     GUIDED=60 seconds of files for each reader of motion, led by which lines they reach
# make parity     our numbers beside the reference numbers in GOLDEN
# make wheel      dist/*.whl, the built-in model inside
# make clean      removes what the above made, but not the environment

PYTHON ?= python3
PROMPT ?= a person runs forward and jumps
GOLDEN ?= tests/golden
FUZZ   ?= 2000
GUIDED ?= 60
BIN    := .venv/bin
READY  := .venv/ready

.PHONY: demo test test-slow fuzz guided parity player wheel clean

# pip fetches torch, because pip knows this machine's own wheels and indexes; uv does the rest, because it is quick.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv torch
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[video,gl,train,lora,serve,speech,parquet,dev]"
	touch $@

demo: $(READY)
	$(BIN)/hftrainer generate "$(PROMPT)" --seed 0 -o out/demo.bvh -o out/demo.mp4 -o out/demo.gif
	@echo
	@echo 'Your turn:  . .venv/bin/activate && hftrainer generate "a person jumps" -o jump.mp4'

test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: $(READY)
	@if command -v npm > /dev/null; then $(MAKE) player; else echo "no npm: tests of the player in a browser are skipped"; fi
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

test-slow: export OMP_NUM_THREADS = 2
test-slow: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[cluster,onnx,bertscore]"
	$(BIN)/python -m pytest -m slow

fuzz: $(READY)
	HFTRAINER_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/test_fuzz.py tests/test_fuzz_folders.py -m ""

guided: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[fuzz]"
	for kind in .npz .npy .bvh .csv .trc .c3d .amc .asf; do \
		$(BIN)/python -m tests.guided $$kind -max_total_time=$(GUIDED) || exit 1; done

parity: $(READY)
	$(BIN)/python -m tests.parity $(GOLDEN)

player: hftrainer/rendering/player.js hftrainer/serving/page/index.html

hftrainer/rendering/player.js: player/package-lock.json player/build.mjs $(wildcard player/src/*.* player/src/site/*.*)
	@command -v npm > /dev/null || { echo "make player needs Node.js with npm; install it and run make player again."; exit 1; }
	cd player && npm ci --ignore-scripts --no-audit --no-fund && node build.mjs

# the same command writes it, after the player
hftrainer/serving/page/index.html: hftrainer/rendering/player.js
	@test $@ -nt $< || (cd player && node build.mjs)

wheel: $(READY) player
	$(BIN)/uv build --wheel --python $(BIN)/python --out-dir dist

clean:
	rm -rf out dist player/node_modules hftrainer/rendering/player.js hftrainer/serving/page .pytest_cache .mypy_cache .ruff_cache .hypothesis
