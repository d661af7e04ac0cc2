"""What a user sets. Relative paths are relative to this file; the command line overrides any of it for one run."""

images_dir = "samples"  # folder that is searched for duplicates, with everything below it
# endings of the files that count as images, in any case
extensions = [".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
              ".tif", ".tiff", ".heic", ".heics", ".heif", ".heifs", ".hif", ".avif", ".avifs",
              ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jxl", ".tga", ".icb", ".vda", ".vst",
              ".qoi", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
              ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", 
              ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2",
              ".srf", ".srw", ".x3f"]  # fmt: skip
batch_size = 32  # images encoded at a time, 1 or more; fewer need less memory, more are faster on a GPU
embedding_size = None  # numbers in an image's vector, 1 or more; None = the encoder's own
image_resize = None  # side of the encoder's square input, 32 to 1024 px; None = what the encoder is best at
epsilon = None  # largest cosine distance between candidates, 0 (same vector) to 2; None = the encoder's own, calibrated
delete_files = False  # True moves removable duplicates to a trash folder inside images_dir; `--undo` brings them back

encoder = "copydet"  # copydet (comes along), imagenet, resnet18, resnet50 (to be fetched), or a checkpoint's path
output_dir = "results"  # folder for the grids, clusters.csv and plan.jsonl
# which file of a version stays; the first word that tells two apart decides: oldest, newest, largest, smallest, an
# ending such as heic, folder:Originals (inside images_dir); what shows or holds more than that file stays beside it
prefer = []
exclude = []  # patterns of what is passed over, relative to images_dir: ["*/previews", "old/*.png"]; * takes / too
num_workers = 2  # processes that read images, 0 to 64; 0 = none of their own
verify = True  # confirm by geometry what the encoder found; False is faster and less sure
# how far removal goes. exact: the same bytes or pixels; copies: also the same picture saved again in another format,
# quality or size; edits: also what was made from the kept picture by cutting, turning, toning, marking
remove = "copies"
merge_metadata = False  # True tells in an XMP file beside a kept picture the keywords and the like that it lacks
cache = True  # remember in output_dir what was found out about files, so that later runs take a fraction of the time
