mod hostile;
mod io;
