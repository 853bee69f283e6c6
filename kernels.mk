# Included by the Makefile. `make sanitize`: the kernel tests with the C++ part built under the address and
# undefined-behaviour sanitizers; any report ends the run.
SANITIZED := build/sanitize

.PHONY: sanitize
sanitize: $(INSTALLED)
	rm -rf $(SANITIZED)
	GNNQ_KERNEL_CFLAGS="-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all" \
	  $(BIN)/python setup.py -q build_ext --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/objects
	library=$$(ls $(CURDIR)/$(SANITIZED)/lib/gnnq_lib/kernels/_gnnq_kernels*.so) && \
	LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 GNNQ_KERNEL_LIBRARY="$$library" \
	  $(BIN)/python -m pytest -q -p no:cacheprovider tests/kernels
