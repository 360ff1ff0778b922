// The program `seqmix`: its command line. Every command is a struct of options and a function in
// commands.h; the texts here are also the manual page (make_man.py).
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>

#include "commands.h"

namespace seqmix_cli {
namespace {

constexpr const char* kDescription =
    "Runs sequence models (Mamba and others) on the CPU: generation, scores, hidden states,\n"
    "states as files, and checks of the kernels on your own weights.";

constexpr const char* kFooter =
    "Exit codes:\n"
    "  0    done\n"
    "  1    a check failed: selftest beyond its tolerance, or state diff found a difference\n"
    "  2    the command line makes no sense\n"
    "  3    a model or file cannot be read or written, or does not fit\n"
    "  4    another failure of the library\n"
    "  130  interrupted (Ctrl-C)\n"
    "\n"
    "Examples:\n"
    "  seqmix inspect models/shakespeare\n"
    "  seqmix run --model models/shakespeare --prompt 'ROMEO:'\n"
    "  seqmix run --help\n";

// CLI11's help with less of its own wording: what an option takes after its name, and the default at
// the end of the description.
class Help : public CLI::Formatter {
  public:
    Help() { label("Positionals", "Arguments"); }
    std::string make_help(const CLI::App* app, std::string name,
                          CLI::AppFormatMode mode) const override {
        std::string text = Formatter::make_help(app, name, mode);
        for (size_t at; (at = text.find("\n\n\n")) != std::string::npos;) {
            text.erase(at, 1);
        }
        return text;
    }
    std::string make_option_name(const CLI::Option* option, bool positional) const override {
        return positional ? option->get_type_name() : Formatter::make_option_name(option, false);
    }
    std::string make_option_opts(const CLI::Option* option) const override {
        return option->get_type_size() != 0 && !option->get_positional()
                   ? " " + option->get_type_name()
                   : "";
    }
    std::string make_option_desc(const CLI::Option* option) const override {
        std::string text = option->get_description();
        std::string initial = option->get_default_str();
        if (initial.size() > 1 && initial.front() == '[') {
            initial = initial.substr(1, initial.size() - 2);
        }
        if (!initial.empty()) {
            text += " (default " + initial + ")";
        }
        if (!option->get_envname().empty()) {
            text += " (environment: " + option->get_envname() + ")";
        }
        if (option->get_required() && !option->get_positional()) {
            text += " (required)";
        }
        return text;
    }
    std::string make_option_usage(const CLI::Option* option) const override {
        const std::string& name = option->get_type_name();
        return option->get_required() ? name : "[" + name + "]";
    }
};

// A number in [low, high], without a text of its own in the help.
CLI::Validator range(double low, double high) {
    const auto refuse = [low, high](std::string& text) {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high) {
            return std::string();
        }
        char message[96];
        std::snprintf(message, sizeof message, "' is no number from %g to %g", low, high);
        return "'" + text + message;
    };
    return CLI::Validator(refuse, "");
}

// Several options of which one is to be given; CLI11's option groups would clutter the help.
void require_one(const CLI::App* command, std::initializer_list<const char*> names, bool required) {
    size_t given = 0;
    std::string list;
    for (const char* name : names) {
        given += command->count(name) > 0 ? 1 : 0;
        list += list.empty() ? name : std::string(", ") + name;
    }
    if (given > 1 || (given == 0 && required)) {
        throw Failure(kUsage, command->get_name() + ": give " +
                                  (required ? "one of " : "at most one of ") + list);
    }
}

void add_context(CLI::App* app, CommonOptions& options) {
    app->add_option("--threads", options.context.threads, "Threads to use; 0 is one per CPU")
        ->type_name("N")
        ->envname("SEQMIX_THREADS")
        ->check(range(0, 4096));
    app->add_option("--isa", options.context.isa,
                    "Instruction set level: reference, generic, avx2, avx512; the best one is\n"
                    "the default")
        ->type_name("LEVEL")
        ->envname("SEQMIX_ISA");
    app->add_option("--weights", options.context.weights,
                    "Keep and multiply matrices as stored (the default), in bf16 or in int8")
        ->type_name("FORMAT");
    app->add_flag("--verbose", options.context.verbose, "Pass the library's log on to stderr");
}

void add_json(CLI::App* app, bool& json) { app->add_flag("--json", json, "Print one JSON object"); }

constexpr const char* kCheckpoint =
    "A checkpoint: safetensors, torch zip or GGUF, a file or a folder";

CLI::Option* add_model(CLI::App* app, CommonOptions& options) {
    return app->add_option("--model", options.model, kCheckpoint)->type_name("PATH");
}

void add_tokenizer(CLI::App* app, OpenOptions& options) {
    CLI::Option* tokenizer =
        app->add_option(
               "--tokenizer", options.tokenizer,
               "tokenizer.json (byte-level BPE), llama2.c's tokenizer.bin, or a GGUF file with a\n"
               "vocabulary; default: the tokenizer.json in the checkpoint's folder, or the\n"
               "vocabulary in a GGUF file")
            ->type_name("FILE");
    app->add_option("--characters", options.characters,
                    "The characters of a vocabulary, in the order of their ids")
        ->type_name("TEXT")
        ->excludes(tokenizer);
}

void add_open(CLI::App* app, OpenOptions& options) {
    app->add_option("--open", options.settings,
                    "An option of the checkpoint's scheme, KEY=VALUE: what its files do not say\n"
                    "(n_head=3); repeatable")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
}

void add_common(CLI::App* app, CommonOptions& options) {
    add_model(app, options)->required();
    add_open(app, options.open);
    add_tokenizer(app, options.open);
    add_context(app, options);
    add_json(app, options.json);
}

void add_input(CLI::App* app, InputOptions& input, const char* group) {
    app->add_option(
           "--text", input.text,
           "A file of text, for models whose vocabulary is bytes, that have a tokenizer, or\n"
           "of DNA (FASTA or bare) for HyenaDNA; - is stdin")
        ->type_name("FILE")
        ->group(group);
    app->add_option("--tokens", input.tokens,
                    "A file of token ids, with white space or commas between or as a JSON\n"
                    "array; - is stdin")
        ->type_name("FILE")
        ->group(group);
}

constexpr const char* kOneInput = "Input, one of";
constexpr const char* kMaybeInput = "Input, at most one of";

void add_accept(CLI::App* app, bool& accept) {
    app->add_flag("--accept-other-weights", accept,
                  "Load states that were made with other weights of the same sizes");
}

using Command = std::function<int()>;

void add_inspect(CLI::App& app, InspectOptions& options, Command& chosen) {
    CLI::App* command = app.add_subcommand(
        "inspect", "Show what a checkpoint holds: layers, sizes, missing and unexpected tensors");
    command->add_option("path", options.common.model, kCheckpoint)->type_name("PATH")->required();
    command->add_flag("--tensors", options.tensors, "Show every tensor of every layer");
    add_context(command, options.common);
    add_json(command, options.common.json);
    command->footer(
        "An incomplete checkpoint is shown too; what it lacks is listed under `missing`.\n\n"
        "Examples:\n"
        "  seqmix inspect models/shakespeare\n"
        "  seqmix inspect --tensors --json model.safetensors\n");
    command->callback([&] { chosen = [&] { return run_inspect(options); }; });
}

void add_convert(CLI::App& app, ConvertOptions& options, Command& chosen) {
    CLI::App* command = app.add_subcommand(
        "convert", "Write a checkpoint with matrices in bf16 or int8, half or a quarter the size");
    command->add_option("path", options.common.model, kCheckpoint)->type_name("MODEL")->required();
    command
        ->add_option("out", options.out,
                     "The folder to write: model.safetensors, and what belongs beside it")
        ->type_name("OUT")
        ->required();
    command
        ->add_option("--weights", options.common.context.weights,
                     "The format of matrices: bf16, int8, or stored (one file of what there is)")
        ->type_name("FORMAT")
        ->required()
        ->check(CLI::IsMember({"bf16", "int8", "stored"}).description(""));
    add_open(command, options.common.open);
    add_json(command, options.common.json);
    command->footer(
        "OUT opens as MODEL does, with the numbers that MODEL gives with --weights FORMAT, bit "
        "for\n"
        "bit, and takes no conversion: matrices are used where they lie in the file. In bf16 it "
        "is\n"
        "safetensors with the original's names, in int8 each matrix NAME has its factors beside "
        "it,\n"
        "NAME_scale. Configuration and tokenizer are carried along (a GGUF file's vocabulary as\n"
        "tokenizer.gguf).\n\n"
        "Examples:\n"
        "  seqmix convert models/shakespeare /tmp/shakespeare-int8 --weights int8\n"
        "  seqmix run --model /tmp/shakespeare-int8 --prompt 'ROMEO:'\n");
    command->callback([&] { chosen = [&] { return run_convert(options); }; });
}

void add_run(CLI::App& app, GenerateOptions& options, Command& chosen) {
    CLI::App* command = app.add_subcommand("run", "Generate text or tokens");
    add_common(command, options.common);
    constexpr const char* kPrompt = "Prompt, at most one of";
    command->add_option("--prompt", options.prompt, "The text to go on from")
        ->type_name("TEXT")
        ->group(kPrompt);
    command->add_option("--prompt-file", options.prompt_file, "A file with that text; - is stdin")
        ->type_name("FILE")
        ->group(kPrompt);
    command
        ->add_option("--tokens", options.tokens,
                     "A file of token ids, with white space or commas between or as a JSON\n"
                     "array; - is stdin")
        ->type_name("FILE")
        ->group(kPrompt);
    command->add_option("-n,--max-tokens", options.max_tokens, "How many tokens to generate")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(0, 1e15));
    command->add_flag("--echo", options.echo, "Print the prompt before what is generated");
    command
        ->add_option("--temperature", options.sampler.temperature,
                     "0 takes the likeliest token each time; larger is more varied")
        ->type_name("X")
        ->capture_default_str()
        ->check(range(0, 1e6));
    command
        ->add_option("--top-k", options.sampler.top_k,
                     "Choose among the K likeliest tokens; 0 is no limit")
        ->type_name("K")
        ->capture_default_str()
        ->check(range(0, 1e15));
    command
        ->add_option("--top-p", options.sampler.top_p,
                     "Choose among the likeliest tokens that together reach probability P")
        ->type_name("P")
        ->capture_default_str()
        ->check(range(0, 1));
    command
        ->add_option("--seed", options.seed,
                     "Start of the random generator; the same seed gives the same text")
        ->type_name("N")
        ->capture_default_str();
    command
        ->add_option("--save-state", options.save_state,
                     "Write the session there when done; the old file stays until the new one\n"
                     "is complete")
        ->type_name("FILE");
    command
        ->add_option("--load-state", options.load_state,
                     "Go on from a session, or from a state that the library saved")
        ->type_name("FILE");
    add_accept(command, options.accept_other_weights);
    command->footer(
        "Models whose vocabulary is bytes print text, and those with a tokenizer or --characters;\n"
        "others print token ids. Speed and the state's size go to stderr.\n"
        "\n"
        "A session is the model's state, the last token, and the random generator. A saved state\n"
        "has not yet consumed the last token, so loading it with an empty prompt gives exactly "
        "the\n"
        "tokens that one long run would have given (and with --seed, other ones). A prompt given\n"
        "with --load-state follows that last token.\n"
        "\n"
        "Ctrl-C stops after the current token; a session that was asked for is saved.\n\n"
        "Examples:\n"
        "  seqmix run --model models/shakespeare --prompt 'ROMEO:'\n"
        "  seqmix run --model models/shakespeare --prompt 'JULIET:' --temperature 0.8 --seed 7\n"
        "  seqmix run --model M --prompt 'Once' -n 100 --save-state s.state\n"
        "  seqmix run --model M --load-state s.state -n 100\n"
        "  seqmix run --model M --tokens ids.txt --json\n"
        "  seqmix run --model stories260K.bin --tokenizer tok512.bin --temperature 0\n");
    command->callback([&, command] {
        require_one(command, {"--prompt", "--prompt-file", "--tokens"}, false);
        options.seed_given = command->count("--seed") > 0;
        chosen = [&] { return run_generate(options); };
    });
}

void add_score(CLI::App& app, ScoreOptions& options, Command& chosen) {
    CLI::App* command = app.add_subcommand("score", "Measure how likely a model finds a text");
    add_common(command, options.common);
    add_input(command, options.input, kOneInput);
    command->add_flag("--per-token", options.per_token,
                      "Print position, id and nats of every token first");
    command
        ->add_option("--chunk", options.chunk,
                     "Tokens a call; memory grows with it, the result does not change")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(1, 1e9));
    command->footer(
        "The first token is not scored; nor is the first of each record of a FASTA file, which "
        "are\n"
        "read apart. Bits per byte are known for models whose vocabulary is bytes.\n\n"
        "Examples:\n"
        "  seqmix score --model models/shakespeare --text play.txt\n"
        "  seqmix score --model M --tokens ids.json --json\n");
    command->callback([&, command] {
        require_one(command, {"--text", "--tokens"}, true);
        chosen = [&] { return run_score(options); };
    });
}

void add_embed(CLI::App& app, EmbedOptions& options, Command& chosen) {
    CLI::App* command =
        app.add_subcommand("embed", "Write the hidden states before the head as a .npy file");
    add_common(command, options.common);
    add_input(command, options.input, kOneInput);
    command->add_option("--out", options.out, "The file to write: float32, (tokens, width)")
        ->type_name("FILE")
        ->required();
    command->add_option("--chunk", options.chunk, "Tokens a call; memory grows with it")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(1, 1e9));
    command->footer(
        "Examples:\n"
        "  seqmix embed --model models/shakespeare --text play.txt --out hidden.npy\n");
    command->callback([&, command] {
        require_one(command, {"--text", "--tokens"}, true);
        chosen = [&] { return run_embed(options); };
    });
}

void add_selftest(CLI::App& app, SelftestOptions& options, Command& chosen) {
    CLI::App* command = app.add_subcommand(
        "selftest", "Check the kernels against double precision on your own weights");
    add_common(command, options.common);
    add_input(command, options.input, kMaybeInput);
    command
        ->add_option("--length", options.length,
                     "How many tokens; 96 random ones are the default, or the first 1024 of\n"
                     "a file")
        ->type_name("N")
        ->check(range(1, 1e9));
    command
        ->add_option("--tolerance", options.tolerance,
                     "Largest error allowed, relative to the tensor's largest magnitude")
        ->type_name("X")
        ->capture_default_str()
        ->check(range(0, 1e9));
    command->footer(
        "The tokens pass every layer at once, in uneven chunks and one by one, each compared with\n"
        "level reference on the same input; then the whole model. Further checks: the model "
        "equals\n"
        "its layers in turn, and a state that was saved and loaded equals the one it was made "
        "of.\n\n"
        "Examples:\n"
        "  seqmix selftest --model models/shakespeare\n"
        "  seqmix selftest --model M --isa avx2 --tokens ids.txt --length 512\n");
    command->callback([&, command] {
        require_one(command, {"--text", "--tokens"}, false);
        chosen = [&] { return run_selftest(options); };
    });
}

void add_bench(CLI::App& app, BenchOptions& options, Command& chosen) {
    CLI::App* command =
        app.add_subcommand("bench", "Measure the speed of a model, or of layer types");
    constexpr const char* kWhat = "What to measure, one of";
    add_model(command, options.common)->group(kWhat);
    command
        ->add_option("--mixer", options.mixer,
                     "A layer type (see seqmix types), with random weights")
        ->type_name("TYPE")
        ->group(kWhat);
    command
        ->add_option("--crossover", options.crossover,
                     "Two layer types: from which length on the second is faster")
        ->type_name("TYPE TYPE")
        ->expected(2)
        ->group(kWhat);
    add_context(command, options.common);
    add_json(command, options.common.json);
    CLI::Option* lengths =
        command
            ->add_option("--lengths", options.lengths,
                         "Prefill lengths, with commas between; --crossover: 256 to 8192 if\n"
                         "none are given")
            ->type_name("N,N,...")
            ->delimiter(',')
            ->capture_default_str()
            ->allow_extra_args(false)
            ->check(range(1, 1e9));
    command->add_option("--decode", options.decode, "Model: single steps to measure")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(1, 1e9));
    command
        ->add_option(
            "--set", options.settings,
            "Type: an attribute; may be given again (--crossover: a.KEY, b.KEY for one alone)")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
    command->add_option("--out", options.out, "--crossover: a picture of both curves, .svg or .png")
        ->type_name("FILE");
    command->add_option("--batch", options.batch, "Mixer: rows")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(1, 1e6));
    command->add_option("--tokens", options.tokens, "Mixer: tokens a row")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(1, 1e9));
    command->add_option("--repeats", options.repeats, "Medians are over this many calls")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(1, 1e6));
    command->footer(
        "Bytes a token count each weight once, and the state read and written.\n\n"
        "Examples:\n"
        "  seqmix bench --model models/shakespeare --threads 1\n"
        "  seqmix bench --mixer mamba --set d_model=768 --batch 4 --tokens 1024 --json\n"
        "  seqmix bench --crossover attention mamba --set d_model=512 --out crossover.svg\n");
    command->callback([&, command, lengths] {
        require_one(command, {"--model", "--mixer", "--crossover"}, true);
        if (!options.crossover.empty() && lengths->count() == 0) {
            options.lengths = {256, 512, 1024, 2048, 4096, 8192};
        }
        chosen = [&] { return run_bench(options); };
    });
}

// What takes numbers: a model, or a type with initial weights.
void add_signal(CLI::App* command, CommonOptions& common, SignalOptions& signal, bool mixers) {
    constexpr const char* kWhat = "Layer, one of";
    CLI::Option* model =
        command->add_option("--model", signal.model, kCheckpoint)->type_name("PATH");
    command
        ->add_option("--open", signal.open,
                     "An option of the checkpoint, again for each: what its file does not say")
        ->type_name("NAME=VALUE")
        ->allow_extra_args(false);
    if (mixers) {
        model->group(kWhat);
        command->add_option("--mixer", signal.mixer, "A layer type with initial weights")
            ->type_name("TYPE")
            ->group(kWhat);
        command->add_option("--set", signal.settings, "An attribute of the type, again for each")
            ->type_name("NAME=VALUE")
            ->allow_extra_args(false);
        command->add_option("--seed", signal.seed, "Start of the random generator")
            ->type_name("N")
            ->capture_default_str();
    } else {
        model->required();
    }
    add_context(command, common);
    add_json(command, common.json);
}

void add_stream(CLI::App& app, StreamOptions& options, Command& chosen) {
    CLI::App* command =
        app.add_subcommand("stream", "Send samples through a layer by blocks, and time the blocks");
    add_signal(command, options.common, options.signal, true);
    command
        ->add_option("--in", options.input,
                     "Samples: 32-bit floats, channels interleaved, or a sound file by its\n"
                     "name (.wav, .flac, ...); - is stdin")
        ->type_name("FILE")
        ->capture_default_str();
    command->add_flag("--sound", options.sound, "The input is a sound file whatever its name");
    command
        ->add_option("--out", options.output,
                     "Where the outputs go: 32-bit floats, or a .wav file; - is stdout")
        ->type_name("FILE")
        ->capture_default_str();
    command->add_option("--block", options.block, "Frames a block")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(1, 1 << 24));
    command
        ->add_option("--rate", options.rate,
                     "Frames per second of raw samples, for the real-time factor")
        ->type_name("HZ")
        ->capture_default_str()
        ->check(range(1e-6, 1e12));
    command->footer(
        "The real-time factor is the time of the layer's calls over the time that the samples "
        "last:\n"
        "below 1 keeps up. A model that pools over time gives one frame of outputs a block, what "
        "it\n"
        "would say if the input ended there. Figures go to stderr, for stdout may carry "
        "samples.\n\n"
        "Examples:\n"
        "  seqmix stream --mixer s4d --set d_model=1 --in in.raw --out out.raw --rate 16000\n"
        "  arecord -f FLOAT_LE -r 48000 | seqmix stream --model M | aplay -f FLOAT_LE -r 48000\n");
    command->callback([&, command] {
        require_one(command, {"--model", "--mixer"}, true);
        chosen = [&] { return run_stream(options); };
    });
}

void add_classify(CLI::App& app, ClassifyOptions& options, Command& chosen) {
    CLI::App* command =
        app.add_subcommand("classify", "Name the classes of pictures or series, with all logits");
    command
        ->add_option("file", options.inputs,
                     "Pictures (idx as MNIST has it, also .gz; PNG) or series (.npy, or text\n"
                     "with a line a step)")
        ->type_name("FILE")
        ->required();
    add_signal(command, options.common, options.signal, false);
    command
        ->add_option("--scale", options.scale,
                     "Multiplies every value first; 1/255 for pictures, else 1")
        ->type_name("X");
    command->add_option("--mean", options.mean, "Subtracted then: one for all channels, or each")
        ->type_name("X")
        ->delimiter(',')
        ->allow_extra_args(false);
    command->add_option("--std", options.deviation, "Divides then: one for all channels, or each")
        ->type_name("X")
        ->delimiter(',')
        ->allow_extra_args(false);
    command
        ->add_option("--labels", options.labels,
                     "The true classes, idx or text; how many are right is said")
        ->type_name("FILE");
    command->add_option("--first", options.first, "The first item of an idx file")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(0, 1e15));
    command->add_option("--limit", options.limit, "How many items; 0 is all")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(0, 1e15));
    command
        ->add_option("--chunk", options.chunk,
                     "Steps a call; 0 is all at once, 1 goes step by step")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(0, 1e9));
    command->footer(
        "A picture is read row by row: a pixel a step, or a row a step where the model is as wide "
        "as\n"
        "a row. A line is the item's name, the class and the logits, with tabs between.\n\n"
        "Examples:\n"
        "  seqmix classify --model s4.pth t10k-images-idx3-ubyte.gz --labels "
        "t10k-labels-idx1-ubyte.gz\n"
        "  seqmix classify --model ckcnn.pt --open omega_0=31.09 --mean 0.1307 --std 0.3081 "
        "digit.png\n"
        "  seqmix classify --model keywords.safetensors mel.npy --json\n");
    command->callback([&] { chosen = [&] { return run_classify(options); }; });
}

void add_plot(CLI::App& app, PlotOptions& options, Command& chosen) {
    CLI::App* command = app.add_subcommand(
        "plot", "Draw a layer's mixing matrix, its kernel, or the kernel's spectrum");
    add_signal(command, options.common, options.signal, true);
    add_tokenizer(command, options.common.open);
    add_input(command, options.input, kMaybeInput);
    command->add_option("--series", options.series, "A file of numbers, as for classify")
        ->type_name("FILE")
        ->group(kMaybeInput);
    command
        ->add_option("--what", options.what,
                     "matrix, kernel (its first column: the response to token 0), or\n"
                     "spectrum (of the kernel)")
        ->type_name("WHAT")
        ->capture_default_str()
        ->check(CLI::IsMember({"matrix", "kernel", "spectrum"}).description(""));
    command->add_option("--out", options.out, "The file to write, .svg or .png")
        ->type_name("FILE")
        ->required();
    command->add_option("--block", options.block, "Which block of a model")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(0, 1e6));
    command->add_option("--lane", options.lane, "Which channel or head")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(0, 1e9));
    command->add_option("-n,--length", options.tokens, "How many tokens of the input")
        ->type_name("N")
        ->capture_default_str()
        ->check(range(2, 8192));
    command->add_option("--rate", options.rate, "Tokens per second: a spectrum is then in Hz")
        ->type_name("HZ")
        ->check(range(1e-6, 1e12));
    command->footer(
        "Without an input it is random. Red is positive, blue negative, the colour the root of "
        "the\n"
        "value; --json prints the numbers too.\n\n"
        "Examples:\n"
        "  seqmix plot --model models/shakespeare --block 2 --text play.txt --out mixing.svg\n"
        "  seqmix plot --mixer s4d --set d_model=4 --what spectrum -n 1024 --out s4d.png\n");
    command->callback([&, command] {
        require_one(command, {"--model", "--mixer"}, true);
        require_one(command, {"--text", "--tokens", "--series"}, false);
        chosen = [&] { return run_plot(options); };
    });
}

void add_types(CLI::App& app, TypesOptions& options, Command& chosen) {
    CLI::App* command =
        app.add_subcommand("types", "List the layer types, or print the schema of one");
    command->add_option("name", options.name, "The type whose schema to print")->type_name("NAME");
    add_json(command, options.json);
    command->footer(
        "Examples:\n"
        "  seqmix types\n"
        "  seqmix types mamba\n");
    command->callback([&] { chosen = [&] { return run_types(options); }; });
}

void add_state(CLI::App& app, StateShowOptions& show, StateDiffOptions& diff, Command& chosen) {
    CLI::App* command = app.add_subcommand("state", "Look into state files");
    command->require_subcommand(1);
    CLI::App* show_command = command->add_subcommand("show", "Show what a state file holds");
    show_command->add_option("file", show.file, "A session or a state that the library saved")
        ->type_name("FILE")
        ->required();
    add_model(show_command, show.common);
    add_context(show_command, show.common);
    add_accept(show_command, show.accept_other_weights);
    add_json(show_command, show.common.json);
    show_command->footer(
        "With --model the state is loaded, and its positions and tensors are shown too.\n\n"
        "Examples:\n"
        "  seqmix state show s.state\n"
        "  seqmix state show s.state --model models/shakespeare\n");
    show_command->callback([&] { chosen = [&] { return run_state_show(show); }; });

    CLI::App* diff_command = command->add_subcommand("diff", "Compare two state files");
    diff_command->add_option("first", diff.first, "A state file")->type_name("FILE")->required();
    diff_command->add_option("second", diff.second, "Another one")->type_name("FILE")->required();
    add_common(diff_command, diff.common);
    add_accept(diff_command, diff.accept_other_weights);
    diff_command->footer(
        "Positions, pending tokens and every tensor are compared; exit code 1 says that they "
        "differ.\n\n"
        "Examples:\n"
        "  seqmix state diff a.state b.state --model models/shakespeare\n");
    diff_command->callback([&] { chosen = [&] { return run_state_diff(diff); }; });
}

// One line on stderr, whatever is in the message.
void print_error(std::string message) {
    while (!message.empty() && (message.back() == '\n' || message.back() == '\r')) {
        message.pop_back();
    }
    for (char& c : message) {
        if (c == '\n' || c == '\r') {
            c = ' ';
        }
    }
    std::fprintf(stderr, "seqmix: %s\n", printable(message).c_str());
}

int run(int argc, char** argv) {
    InspectOptions inspect;
    ConvertOptions convert;
    GenerateOptions generate;
    ScoreOptions score;
    EmbedOptions embed;
    SelftestOptions selftest;
    BenchOptions bench;
    StreamOptions stream;
    ClassifyOptions classify;
    PlotOptions plot;
    TypesOptions types;
    StateShowOptions show;
    StateDiffOptions diff;
    Command chosen;

    CLI::App app(kDescription, "seqmix");
    app.set_version_flag("--version", std::string("seqmix ") + seqmix_version_string());
    app.require_subcommand(1);
    app.footer(kFooter);
    app.formatter(std::make_shared<Help>());
    add_inspect(app, inspect, chosen);
    add_convert(app, convert, chosen);
    add_run(app, generate, chosen);
    add_score(app, score, chosen);
    add_embed(app, embed, chosen);
    add_selftest(app, selftest, chosen);
    add_bench(app, bench, chosen);
    add_stream(app, stream, chosen);
    add_classify(app, classify, chosen);
    add_plot(app, plot, chosen);
    add_types(app, types, chosen);
    add_state(app, show, diff, chosen);
    if (argc > 1 && argv[1][0] != '-' &&
        app.get_subcommands([&](CLI::App* command) { return command->check_name(argv[1]); })
            .empty()) {
        throw Failure(kUsage,
                      std::string("there is no command '") + argv[1] + "' (see seqmix --help)");
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) {
            return app.exit(error);  // --help, --version
        }
        std::string help = "seqmix";
        for (const CLI::App* used : app.get_subcommands()) {
            help += " " + used->get_name();
        }
        print_error(std::string(error.what()) + " (see " + help + " --help)");
        return kUsage;
    }
    watch_interrupts();
    return chosen();
}

}  // namespace
}  // namespace seqmix_cli

int main(int argc, char** argv) {
    try {
        return seqmix_cli::run(argc, argv);
    } catch (const seqmix_cli::Failure& failure) {
        seqmix_cli::print_error(failure.what());
        return failure.code;
    } catch (const std::bad_alloc&) {
        seqmix_cli::print_error("out of memory");
    } catch (const std::exception& error) {
        seqmix_cli::print_error(error.what());
    }
    return seqmix_cli::kFailed;
}
